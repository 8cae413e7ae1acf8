/* Each call that sleeps, and a signal meanwhile: with a handler, with SA_RESTART, and stopped and continued.  The call is
 * made again, ends with EINTR, or says how much it had done.
 * man 7 signal ("Interruption of system calls and library functions by signal handlers") */
#include "guest.h"
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

/* What this process and the one that pokes it both see. */
static volatile struct { int armed, done, handled, word; } *shared;
static int ends[2], pair[2], event, timer, signals, epoll, file;
static pid_t child;
static char many[400000];
static const struct timespec minute = { 60, 0 };

static void on_signal(int signal)
{
    (void)signal;
    shared->handled++;
}

static long futex(volatile int *word, int op, int value, const struct timespec *timeout)
{
    return syscall(SYS_futex, word, op, value, timeout, NULL, -1);
}

/* -- the calls, and what ends each -- */
static long reads(void) { return read(ends[0], many, 100); }
static long reads_pieces(void)
{
    struct iovec pieces[2] = { { many, 3 }, { many + 3, 3 } };
    return readv(ends[0], pieces, 2);
}
static void feeds(void) { (void)!write(ends[1], "four", 4); }
static void fills(void)
{
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    while (write(ends[1], many, 4096) > 0)
        ;
    fcntl(ends[1], F_SETFL, 0);
}
static long writes(void) { return write(ends[1], many, 4096); }
static long writes_more(void) { return write(ends[1], many, 100000); }
static long writes_pieces(void)
{
    struct iovec pieces[2] = { { many, 4096 }, { many, 90000 } };
    return writev(ends[1], pieces, 2);
}
static void drains(void)
{
    static char other[100000];
    long had = 0;
    struct pollfd poller = { ends[0], POLLIN, 0 };
    while (poll(&poller, 1, 100) == 1)
        had += read(ends[0], other, sizeof other);
    (void)had;
}
static long opens(void)
{
    int fd = open("int.fifo", O_RDONLY);
    return fd < 0 ? -1 : close(fd);
}
static void opens_too(void) { close(open("int.fifo", O_WRONLY)); }
static void has_child(void)
{
    pipe(ends);
    child = fork();
    if (!child) {
        char byte;
        close(ends[1]);
        (void)!read(ends[0], &byte, 1);
        _exit(3);
    }
}
static long waits(void) { return waitpid(child, NULL, 0) == child ? 1 : -1; }
static long waits_by_id(void)
{
    siginfo_t info;
    return waitid(P_PID, (id_t)child, &info, WEXITED);
}
static void no_child(void) { kill(child, SIGKILL); }
static long receives(void) { return recv(pair[0], many, 10, 0); }
static long receives_all(void) { return recv(pair[0], many, 10, MSG_WAITALL); }
static long receives_message(void)
{
    struct iovec piece = { many, 10 };
    struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1 };
    return recvmsg(pair[0], &message, 0);
}
static void sends(void) { (void)!write(pair[1], "four", 4); }
static void sends_ten(void) { (void)!write(pair[1], "four, five", 10); }
static void in_time(void)
{
    struct timeval timeout = { 60, 0 };
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
}
static void fills_socket(void)
{
    while (send(pair[0], many, 4096, MSG_DONTWAIT) > 0)
        ;
}
static void fills_socket_in_time(void)
{
    in_time();
    fills_socket();
}
static long sends_message(void)
{
    struct iovec piece = { many, 100 };
    struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1 };
    return sendmsg(pair[0], &message, 0);
}
static void empties_socket(void)
{
    struct pollfd poller = { pair[1], POLLIN, 0 };
    while (poll(&poller, 1, 100) == 1 && read(pair[1], many, 65536) > 0)
        ;
}
static long locks(void) { return flock(file, LOCK_EX); }
static long locks_part(void)
{
    struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
    return fcntl(file, F_SETLKW, &lock);
}
static long locks_description(void)
{
    struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
    return fcntl(file, F_OFD_SETLKW, &lock);
}
static long waits_on_word(void) { return futex(&shared->word, FUTEX_WAIT, 0, NULL); }
static long waits_on_word_in_time(void) { return futex(&shared->word, FUTEX_WAIT, 0, &minute); }
static long waits_on_bits(void)
{
    struct timespec when;
    clock_gettime(CLOCK_MONOTONIC, &when);
    when.tv_sec += 60;
    return futex(&shared->word, FUTEX_WAIT_BITSET, 0, &when);
}
static void wakes(void) { futex(&shared->word, FUTEX_WAKE, 1, NULL); }
static long counts(void) { return read(event, many, 8); }
static void raises(void) { uint64_t one = 1; (void)!write(event, &one, 8); }
static void counted_full(void) { uint64_t most = ~1UL; (void)!write(event, &most, 8); }
static long adds(void) { uint64_t one = 1; return write(event, &one, 8); }
static void lowers(void) { uint64_t value; (void)!read(event, &value, 8); }
static long expires(void) { return read(timer, many, 8); }
static void fires(void)
{
    struct itimerspec soon = { .it_value = { 0, 1 } };
    timerfd_settime(timer, 0, &soon, NULL);
}
static long signalled(void) { return read(signals, many, 128); }
static void sends_other(void) { kill(getppid(), SIGUSR2); }
static long polls(void)
{
    struct pollfd poller = { ends[0], POLLIN, 0 };
    return poll(&poller, 1, -1);
}
static long polls_in_time(void)
{
    struct pollfd poller = { ends[0], POLLIN, 0 };
    struct timespec time = minute;
    return syscall(SYS_ppoll, &poller, 1, &time, NULL, 8);
}
static long selects(void)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    struct timespec time = minute;
    return syscall(SYS_pselect6, ends[0] + 1, &set, NULL, NULL, &time, NULL);
}
static long waits_in_set(void)
{
    struct epoll_event ready;
    return epoll_pwait(epoll, &ready, 1, -1, NULL);
}
static long sleeps(void)
{
    struct timespec time = { 0, 500000000 };
    return syscall(SYS_nanosleep, &time, &time);
}
static long sleeps_until(void)
{
    struct timespec when;
    clock_gettime(CLOCK_MONOTONIC, &when);
    when.tv_nsec += 500000000;
    when.tv_sec += when.tv_nsec / 1000000000;
    when.tv_nsec %= 1000000000;
    return syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL);
}
static void nothing(void) { }
static long takes_signal(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    return syscall(SYS_rt_sigtimedwait, &set, NULL, &minute, 8);
}
static long takes_any_time(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    return syscall(SYS_rt_sigtimedwait, &set, NULL, NULL, 8);
}
static long suspends(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    return sigsuspend(&set);
}
static long pauses(void) { return pause(); }
static void again(void) { kill(getppid(), SIGUSR1); }
static long splices(void) { return splice(ends[0], NULL, pair[0], NULL, 100, 0); }
static long tees(void) { return tee(ends[0], event, 100, 0); }
static void a_pipe_more(void)
{
    int more[2];
    pipe(more);
    dup2(more[1], event);
}

/* What the poking process holds while the call waits for it. */
enum held { NO_LOCK, FLOCK, PART, DESCRIPTION };

static int lock_fd;

static void hold(enum held held)
{
    struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
    lock_fd = open("int.lock", O_RDWR);
    if (held == FLOCK)
        flock(lock_fd, LOCK_EX);
    if (held == PART)
        fcntl(lock_fd, F_SETLK, &lock);
    if (held == DESCRIPTION)
        fcntl(lock_fd, F_OFD_SETLK, &lock);
}

static void unlocks(void) { close(lock_fd); }

static const struct {
    const char *name;
    long (*call)(void);
    void (*before)(void), (*feed)(void);
    enum held held;
} cases[] = {
    { "read of a pipe", reads, NULL, feeds, 0 },
    { "readv of a pipe", reads_pieces, NULL, feeds, 0 },
    { "write to a pipe", writes, fills, drains, 0 },
    { "write of more than fits", writes_more, NULL, drains, 0 },
    { "writev of more than fits", writes_pieces, NULL, drains, 0 },
    { "open of a FIFO", opens, NULL, opens_too, 0 },
    { "wait4", waits, has_child, no_child, 0 },
    { "waitid", waits_by_id, has_child, no_child, 0 },
    { "recv", receives, NULL, sends, 0 },
    { "recv of all, some there", receives_all, sends, sends_ten, 0 },
    { "recvmsg", receives_message, NULL, sends, 0 },
    { "recv with SO_RCVTIMEO", receives, in_time, sends, 0 },
    { "sendmsg", sends_message, fills_socket, empties_socket, 0 },
    { "sendmsg with SO_SNDTIMEO", sends_message, fills_socket_in_time, empties_socket, 0 },
    { "flock", locks, NULL, unlocks, FLOCK },
    { "F_SETLKW", locks_part, NULL, unlocks, PART },
    { "F_OFD_SETLKW", locks_description, NULL, unlocks, DESCRIPTION },
    { "FUTEX_WAIT", waits_on_word, NULL, wakes, 0 },
    { "FUTEX_WAIT in time", waits_on_word_in_time, NULL, wakes, 0 },
    { "FUTEX_WAIT_BITSET", waits_on_bits, NULL, wakes, 0 },
    { "read of an eventfd", counts, NULL, raises, 0 },
    { "write to an eventfd", adds, counted_full, lowers, 0 },
    { "read of a timerfd", expires, NULL, fires, 0 },
    { "read of a signalfd", signalled, NULL, sends_other, 0 },
    { "poll", polls, NULL, feeds, 0 },
    { "ppoll in time", polls_in_time, NULL, feeds, 0 },
    { "pselect6", selects, NULL, feeds, 0 },
    { "epoll_pwait", waits_in_set, NULL, feeds, 0 },
    { "nanosleep", sleeps, NULL, nothing, 0 },
    { "clock_nanosleep until", sleeps_until, NULL, nothing, 0 },
    { "rt_sigtimedwait", takes_signal, NULL, sends_other, 0 },
    { "rt_sigtimedwait for ever", takes_any_time, NULL, sends_other, 0 },
    { "rt_sigsuspend", suspends, NULL, again, 0 },
    { "pause", pauses, NULL, again, 0 },
    { "splice", splices, NULL, feeds, 0 },
    { "tee", tees, a_pipe_more, feeds, 0 },
};

static char state_of(pid_t pid)
{
    char name[40], text[200] = "";
    snprintf(name, sizeof name, "/proc/%d/stat", pid);
    int fd = open(name, O_RDONLY);
    ssize_t count = read(fd, text, sizeof text - 1);
    close(fd);
    char *end = count > 0 ? strrchr(text, ')') : NULL;
    return end ? end[2] : '?';
}

static void until(pid_t pid, char state)
{
    struct timespec moment = { 0, 500000 };
    while (!shared->done && state_of(pid) != state)
        nanosleep(&moment, NULL);
}

static void poke(int mode, void (*feed)(void))
{
    pid_t parent = getppid();
    struct timespec moment = { 0, 500000 };
    while (!shared->armed)
        nanosleep(&moment, NULL);
    until(parent, 'S');
    if (mode == 2) {
        kill(parent, SIGSTOP);
        until(parent, 'T');
        kill(parent, SIGCONT);
        nanosleep(&moment, NULL);
    } else {
        kill(parent, SIGUSR1);
        while (!shared->handled)
            nanosleep(&moment, NULL);
    }
    until(parent, 'S');
    if (!shared->done)
        feed();
    _exit(0);
}

static const char *attempt(size_t i, int mode)
{
    static char said[64];
    struct sigaction act = { .sa_flags = mode == 1 ? SA_RESTART : 0 };
    struct epoll_event wanted = { .events = EPOLLIN };
    sigset_t set;
    act.sa_handler = on_signal;
    sigaction(SIGUSR1, &act, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    pipe(ends);
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    event = eventfd(0, 0);
    timer = timerfd_create(CLOCK_MONOTONIC, 0);
    signals = signalfd(-1, &set, 0);
    epoll = epoll_create1(0);
    epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &wanted);
    file = open("int.lock", O_RDWR);
    shared->armed = shared->done = shared->handled = shared->word = 0;
    child = 0;
    if (cases[i].before)
        cases[i].before();
    fflush(stdout);
    pid_t poker = fork();
    if (!poker) {
        hold(cases[i].held);
        shared->word = 1;
        while (!shared->armed)
            sched_yield();
        poke(mode, cases[i].feed);
    }
    while (!shared->word)
        sched_yield();
    shared->word = 0;
    shared->armed = 1;
    errno = 0;
    long result = guest_result(cases[i].call());
    shared->done = 1;
    waitpid(poker, NULL, 0);
    if (child && waitpid(child, NULL, WNOHANG) == 0) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    struct timespec none = { 0, 0 };
    sigtimedwait(&set, NULL, &none);
    for (int fd = 3; fd < 24; fd++)
        close(fd);
    if (result < 0)
        snprintf(said, sizeof said, "%s", errno_name((int)-result));
    else
        snprintf(said, sizeof said, "%ld", result);
    return said;
}

int main(void)
{
    guest_start();
    shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    WANT(mkfifo("int.fifo", 0600), 0);
    put_file("int.lock", "x", 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        printf("%s: %s", cases[i].name, attempt(i, 0));
        printf(", SA_RESTART %s", attempt(i, 1));
        printf(", stopped %s\n", attempt(i, 2));
    }
    unlink("int.fifo");
    unlink("int.lock");
    return guest_end();
}
