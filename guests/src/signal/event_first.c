/* A sleeper is woken, and then sent a signal before it has run: what it waited for has come, so its call succeeds, and
 * the handler runs after it.  include/linux/wait.h:___wait_event() looks at the condition first.  Who waits for a stream
 * of a socket looks at signals alone when it has slept: net/unix/af_unix.c:unix_stream_read_generic(). */
#include "guest.h"
#include "../tasks/asleep.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int ends[2], event, *word;

static void on_signal(int signal)
{
    (void)signal;
}

static long reads(void)
{
    char byte;
    return read(ends[0], &byte, 1);
}

static long polls(void)
{
    struct pollfd entry = { ends[0], POLLIN, 0 };
    return poll(&entry, 1, -1);
}

static long selects(void)
{
    fd_set in;
    FD_ZERO(&in);
    FD_SET(ends[0], &in);
    return select(ends[0] + 1, &in, NULL, NULL, NULL);
}

static long waits_for_epoll(void)
{
    struct epoll_event events = { EPOLLIN, { 0 } };
    int set = epoll_create1(0);
    epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &events);
    return epoll_wait(set, &events, 1, -1);
}

static long counts(void)
{
    uint64_t value;
    return read(event, &value, 8);
}

static long sleeps_on_a_word(void)
{
    return syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0);
}

static void write_byte(void)
{
    write(ends[1], "x", 1);
}

static void count(void)
{
    uint64_t one = 1;
    write(event, &one, 8);
}

static void wake(void)
{
    *word = 1;
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static int sockets[2];

static long reads_stream(void)
{
    char byte;
    return read(sockets[0], &byte, 1);
}

static long receives(void)
{
    char bytes[2];
    return recv(sockets[0], bytes, 2, MSG_WAITALL);
}

static long receives_in_time(void)
{
    struct timeval limit = { 10, 0 };
    setsockopt(sockets[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return receives();
}

static void sleeper(const char *name, long (*call)(void), void (*event_comes)(void))
{
    struct sigaction action = { .sa_flags = 0 };
    int status = 0;
    action.sa_handler = on_signal;
    sigaction(SIGUSR1, &action, NULL);
    pipe(ends);
    event = eventfd(0, 0);
    *word = 0;
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        errno = 0;
        long result = call();
        _exit(result == -1 ? 100 + errno : (int)result);
    }
    until_asleep(child, child);
    event_comes();
    kill(child, SIGUSR1);
    waitpid(child, &status, 0);
    printf("%s: %d\n", name, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    close(ends[0]), close(ends[1]), close(event);
}

/* The signal comes first here, and the data before the sleeper has run. */
static void slept_on_stream(const char *name, long (*call)(void), int have, int flags)
{
    struct sigaction action = { .sa_flags = flags };
    int status = 0;
    action.sa_handler = on_signal;
    sigaction(SIGUSR1, &action, NULL);
    socketpair(AF_UNIX, SOCK_STREAM, 0, sockets);
    write(sockets[1], "12", (size_t)have);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        errno = 0;
        long result = call();
        _exit(result == -1 ? 100 + errno : (int)result);
    }
    until_asleep(child, child);
    kill(child, SIGUSR1);
    write(sockets[1], "34", 2);
    waitpid(child, &status, 0);
    printf("%s, %d there, %s: %d\n", name, have, flags ? "made again" : "not again", WEXITSTATUS(status));
    close(sockets[0]), close(sockets[1]);
}

#define SLEEPER(call, event_comes) sleeper(#call " " #event_comes, call, event_comes)

int main(void)
{
    guest_start();
    word = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    SLEEPER(reads, write_byte);
    SLEEPER(polls, write_byte);
    SLEEPER(selects, write_byte);
    SLEEPER(waits_for_epoll, write_byte);
    SLEEPER(counts, count);
    SLEEPER(sleeps_on_a_word, wake);
    slept_on_stream("read", reads_stream, 0, 0);
    slept_on_stream("read", reads_stream, 0, SA_RESTART);
    slept_on_stream("recv", receives, 0, 0);
    slept_on_stream("recv", receives, 1, 0);
    slept_on_stream("recv", receives, 1, SA_RESTART);
    slept_on_stream("recv", receives, 0, SA_RESTART);
    slept_on_stream("recv in time", receives_in_time, 0, SA_RESTART);
    slept_on_stream("recv in time", receives_in_time, 1, 0);
    return guest_end();
}
