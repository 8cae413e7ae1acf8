/* Pipes between processes: the end of the file, SIGPIPE, atomic writes of many writers, writers and readers that wait,
 * FIFOs, poll, and who sleeps until when.
 * man 7 pipe, man 7 fifo, man 2 poll */
#include "guest.h"
#include <limits.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <time.h>

static int fds[2], back[2], status;
static char data[1 << 18];

static int ended(pid_t child)
{
    if (waitpid(child, &status, 0) != child)
        return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void close_both(int *pair)
{
    close(pair[0]);
    close(pair[1]);
}

static void end_of_file(void)
{
    char byte;
    pipe(fds);
    pid_t child = fork();
    if (!child) {
        usleep(5000);
        write(fds[1], "ab", 2);
        _exit(0);
    }
    close(fds[1]);
    WANT(read(fds[0], data, 10), 2);
    WANT(read(fds[0], &byte, 1), 0);
    WANT(ended(child), 0);
    close(fds[0]);
    /* no end while somebody still holds the other side */
    pipe(fds);
    child = fork();
    if (!child) {
        close(fds[0]);
        if (!fork()) {
            usleep(20000);
            write(fds[1], "late", 4);
            _exit(0);
        }
        _exit(0);
    }
    close(fds[1]);
    WANT(ended(child), 0);
    WANT(read(fds[0], data, 10), 4);
    WANT(read(fds[0], data, 10), 0);
    close(fds[0]);
}

static volatile int broken;

static void on_pipe(int signal)
{
    broken = signal;
}

static void nobody_reads(void)
{
    pipe(fds);
    close(fds[0]);
    pid_t child = fork();
    if (!child) {
        write(fds[1], "x", 1);
        _exit(1);
    }
    WANT(ended(child), 1000 + SIGPIPE);
    signal(SIGPIPE, SIG_IGN);
    FAILS(write(fds[1], "x", 1), EPIPE);
    FAILS(write(fds[1], data, sizeof data), EPIPE);
    signal(SIGPIPE, on_pipe);
    FAILS(write(fds[1], "x", 1), EPIPE);
    WANT(broken, SIGPIPE);
    close(fds[1]);
    /* the last reader leaves while a writer waits for room */
    broken = 0;
    pipe(fds);
    child = fork();
    if (!child) {
        close(fds[1]);
        read(fds[0], data, 1000);
        _exit(0);
    }
    close(fds[0]);
    CHECK(write(fds[1], data, sizeof data) >= 65536);           /* what went in before it left */
    CHECK(broken == SIGPIPE || write(fds[1], "x", 1) == -1);
    WANT(broken, SIGPIPE);
    WANT(ended(child), 0);
    signal(SIGPIPE, SIG_DFL);
    close(fds[1]);
}

/* Writes of PIPE_BUF bytes or fewer are never mixed, however many write. */
static void atomic(void)
{
    enum { WRITERS = 5, LINES = 60, LENGTH = 700 };
    static char line[LENGTH];
    long good = 0, count;
    size_t have = 0;
    pipe(fds);
    for (int i = 0; i < WRITERS; i++)
        if (!fork()) {
            memset(line, 'a' + i, sizeof line);
            for (int n = 0; n < LINES; n++)
                if (write(fds[1], line, sizeof line) != sizeof line)
                    _exit(1);
            _exit(0);
        }
    close(fds[1]);
    while ((count = read(fds[0], data + have, 1000)) > 0) {
        have += (size_t)count;
        while (have >= LENGTH) {
            int same = 1;
            for (int i = 1; i < LENGTH; i++)
                same &= data[i] == data[0];
            good += same;
            have -= LENGTH;
            memmove(data, data + LENGTH, have);
        }
    }
    WANT(good, WRITERS * LINES);
    WANT(have, 0);
    for (int i = 0; i < WRITERS; i++)
        wait(NULL);
    close(fds[0]);
}

static void waiting_writers(void)
{
    long total = 0, count;
    int pending;
    pipe(fds);
    pid_t child = fork();
    if (!child) {
        close(fds[0]);
        for (size_t i = 0; i < sizeof data; i++)
            data[i] = (char)(i * 7);
        _exit(write(fds[1], data, sizeof data) != sizeof data);
    }
    close(fds[1]);
    do
        ioctl(fds[0], FIONREAD, &pending);
    while (pending < 65536 && !usleep(500));
    WANT(pending, 65536);                                       /* it fills the pipe and waits */
    int good = 1;
    char piece[3001];
    while ((count = read(fds[0], piece, sizeof piece)) > 0)
        for (long i = 0; i < count; i++)
            good &= piece[i] == (char)(total++ * 7);
    WANT(total, sizeof data);
    CHECK(good);
    WANT(ended(child), 0);
    close(fds[0]);
    /* a write that is not atomic takes what room there is, one that is waits for all of it */
    pipe(fds);
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    while (write(fds[1], data, PAGE) > 0)
        ;
    FAILS(write(fds[1], "x", 1), EAGAIN);
    WANT(read(fds[0], data, PAGE), PAGE);
    WANT(write(fds[1], data, PAGE + 5), PAGE);
    FAILS(write(fds[1], data, PIPE_BUF), EAGAIN);
    close_both(fds);
}

/* A long line of processes, each a reader and a writer. */
static void chain(void)
{
    enum { LENGTH = 12 };
    int first[2], in;
    long value = 0;
    pipe(first);
    in = first[0];
    for (int i = 0; i < LENGTH; i++) {
        int next[2];
        pipe(next);
        if (!fork()) {
            close(first[1]);
            close(next[0]);
            while (read(in, &value, sizeof value) == sizeof value) {
                value++;
                write(next[1], &value, sizeof value);
            }
            _exit(0);
        }
        close(next[1]);
        close(in);
        in = next[0];
    }
    long sum = 0;
    for (long i = 0; i < 30; i++)
        write(first[1], &i, sizeof i);
    close(first[1]);
    while (read(in, &value, sizeof value) == sizeof value)
        sum += value;
    WANT(sum, 30 * 29 / 2 + 30 * LENGTH);
    for (int i = 0; i < LENGTH; i++)
        wait(NULL);
    close(in);
}

/* Back and forth. */
static void ping_pong(void)
{
    int value = 0;
    pipe(fds);
    pipe(back);
    pid_t child = fork();
    if (!child) {
        close(fds[1]);
        close(back[0]);
        while (read(fds[0], &value, sizeof value) == sizeof value) {
            value++;
            write(back[1], &value, sizeof value);
        }
        _exit(0);
    }
    close(fds[0]);
    close(back[1]);
    for (int i = 0; i < 500; i++) {
        write(fds[1], &value, sizeof value);
        read(back[0], &value, sizeof value);
    }
    WANT(value, 500);
    close(fds[1]);
    WANT(ended(child), 0);
    close(back[0]);
}

static void polling(void)
{
    struct pollfd polled[2];
    struct timespec start, end;
    fd_set set;
    char byte;
    pipe(fds);
    pipe(back);
    pid_t child = fork();
    if (!child) {
        close(back[1]);
        usleep(5000);
        write(fds[1], "x", 1);
        read(back[0], &byte, 1);
        close(back[0]);
        usleep(5000);
        write(fds[1], "y", 1);
        _exit(0);
    }
    close(fds[1]);
    close(back[0]);
    polled[0] = (struct pollfd) { fds[0], POLLIN, 0 };
    polled[1] = (struct pollfd) { back[1], 0, 0 };
    clock_gettime(CLOCK_MONOTONIC, &start);
    WANT(poll(polled, 2, 10000), 1);
    WANT(polled[0].revents, POLLIN);
    WANT(read(fds[0], &byte, 1), 1);
    write(back[1], "z", 1);
    polled[0].fd = -1;
    WANT(poll(polled, 2, 10000), 1);
    WANT(polled[1].revents, POLLERR);                           /* the reader has gone */
    FD_ZERO(&set);
    FD_SET(fds[0], &set);
    WANT(select(fds[0] + 1, &set, NULL, NULL, NULL), 1);
    WANT(read(fds[0], &byte, 1), 1);
    FD_SET(fds[0], &set);
    WANT(select(fds[0] + 1, &set, NULL, NULL, NULL), 1);        /* the end */
    WANT(read(fds[0], &byte, 1), 0);
    polled[0].fd = fds[0];
    polled[1].fd = -1;
    WANT(poll(polled, 2, -1), 1);
    WANT(polled[0].revents, POLLHUP);
    clock_gettime(CLOCK_MONOTONIC, &end);
    CHECK(end.tv_sec - start.tv_sec < 9);
    WANT(ended(child), 0);
    close(fds[0]);
    close(back[1]);
    /* room in a full pipe */
    pipe(fds);
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    while (write(fds[1], data, PAGE) > 0)
        ;
    child = fork();
    if (!child) {
        close(fds[1]);
        usleep(5000);
        for (int i = 0; i < 3; i++)
            read(fds[0], data, PAGE);
        _exit(0);
    }
    polled[0] = (struct pollfd) { fds[1], POLLOUT, 0 };
    WANT(poll(polled, 1, 0), 0);
    WANT(poll(polled, 1, 10000), 1);
    WANT(polled[0].revents, POLLOUT);
    WANT(ended(child), 0);
    close_both(fds);
}

static void fifos(void)
{
    char byte;
    WANT(mkfifo("tasks.fifo", 0600), 0);
    FAILS(open("tasks.fifo", O_WRONLY | O_NONBLOCK), ENXIO);
    pid_t child = fork();
    if (!child) {
        usleep(3000);
        int fd = open("tasks.fifo", O_WRONLY);
        write(fd, "through", 7);
        close(fd);
        usleep(3000);
        fd = open("tasks.fifo", O_RDONLY);
        _exit(read(fd, data, 10) == 4 ? 0 : 1);
    }
    int fd = open("tasks.fifo", O_RDONLY);                      /* waits for the writer */
    WANT(read(fd, data, 20), 7);
    WANT(read(fd, &byte, 1), 0);
    close(fd);
    fd = open("tasks.fifo", O_WRONLY);
    WANT(write(fd, "back", 4), 4);
    WANT(ended(child), 0);
    close(fd);
    /* an open that a signal ends */
    child = fork();
    if (!child) {
        struct sigaction act = { .sa_handler = on_pipe };
        sigaction(SIGALRM, &act, NULL);
        ualarm(50000, 0);
        _exit(open("tasks.fifo", O_RDONLY) == -1 ? errno : 0);
    }
    WANT(ended(child), EINTR);
    FAILS(open("tasks.fifo", O_WRONLY | O_NONBLOCK), ENXIO);    /* and that has left nothing behind */
    WANT(unlink("tasks.fifo"), 0);
}

/* Several readers of one pipe: each byte goes to one of them. */
static void readers(void)
{
    enum { READERS = 4, BYTES = 200 };
    int total = 0;
    pipe(fds);
    for (int i = 0; i < READERS; i++)
        if (!fork()) {
            char byte;
            int count = 0;
            close(fds[1]);
            while (read(fds[0], &byte, 1) == 1)
                count++;
            _exit(count);
        }
    close(fds[0]);
    for (int i = 0; i < BYTES; i++) {
        write(fds[1], "x", 1);
        if (i % 20 == 0)
            usleep(500);
    }
    close(fds[1]);
    for (int i = 0; i < READERS; i++) {
        wait(&status);
        total += WEXITSTATUS(status);
    }
    WANT(total, BYTES);
}

int main(void)
{
    guest_start();
    end_of_file();
    nobody_reads();
    atomic();
    waiting_writers();
    chain();
    ping_pong();
    polling();
    fifos();
    readers();
    return guest_end();
}
