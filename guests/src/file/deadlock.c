/* Locks that several processes wait for: who gets them, what ends the wait, and a circle.  man 2 fcntl, man 2 flock */
#include "guest.h"
#include <sched.h>
#include <sys/file.h>
#include <sys/time.h>
#include <sys/wait.h>

static int file, told[2];
static volatile int *go;

static int lock(int fd, int command, short type, off_t start)
{
    struct flock range = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = 1 };
    return fcntl(fd, command, &range);
}

static void tell(void)
{
    if (write(told[1], "x", 1) != 1)
        _exit(90);
}

static void hear(int from)
{
    char byte;
    if (read(from, &byte, 1) != 1)
        _exit(91);
}

/* Until the child sleeps, and not just for a moment: in the call that it has come to. */
static void until_asleep(pid_t child)
{
    char path[32], text[256];
    snprintf(path, sizeof path, "/proc/%d/stat", child);
    for (int in_a_row = 0; in_a_row < 4; in_a_row++, usleep(500)) {
        int fd = open(path, O_RDONLY);
        ssize_t count = read(fd, text, sizeof text - 1);
        text[count > 0 ? count : 0] = 0;
        close(fd);
        char *end = strrchr(text, ')');
        if (!end || end[2] != 'S')
            in_a_row = -1;
    }
}

static void ring(int signal)
{
    (void)signal;
}

static int ended(pid_t child)
{
    int status = -1;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(void)
{
    struct sigaction act = { .sa_handler = ring };
    guest_start();
    sigaction(SIGALRM, &act, NULL);
    file = open("locked", O_RDWR | O_CREAT, 0600);
    WANT(pipe(told), 0);
    go = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    /* the child holds 1 and waits for 0, which we hold: to want 1 as well would be a circle */
    WANT(lock(file, F_SETLK, F_WRLCK, 0), 0);
    pid_t child = fork();
    if (!child) {
        if (lock(file, F_SETLK, F_WRLCK, 1))
            _exit(1);
        tell();
        _exit(lock(file, F_SETLKW, F_WRLCK, 0) ? errno : 0);
    }
    hear(told[0]);
    until_asleep(child);
    FAILS(lock(file, F_SETLK, F_WRLCK, 1), EAGAIN);
    FAILS(lock(file, F_SETLKW, F_WRLCK, 1), EDEADLK);
    WANT(lock(file, F_SETLK, F_UNLCK, 0), 0);
    WANT(ended(child), 0);
    WANT(lock(file, F_SETLKW, F_WRLCK, 1), 0);
    WANT(lock(file, F_SETLK, F_UNLCK, 1), 0);

    /* a circle of three */
    pid_t children[2];
    WANT(lock(file, F_SETLK, F_WRLCK, 0), 0);
    for (int i = 0; i < 2; i++) {
        children[i] = fork();
        if (!children[i]) {
            if (lock(file, F_SETLK, F_WRLCK, i + 1))
                _exit(1);
            tell();
            while (!*go)
                sched_yield();
            _exit(lock(file, F_SETLKW, F_WRLCK, i) ? errno : 0);
        }
        hear(told[0]);
    }
    *go = 1;
    until_asleep(children[0]);
    until_asleep(children[1]);
    FAILS(lock(file, F_SETLKW, F_WRLCK, 2), EDEADLK);
    WANT(lock(file, F_SETLK, F_UNLCK, 0), 0);
    WANT(ended(children[0]), 0);
    WANT(ended(children[1]), 0);

    /* a signal ends the wait: for a range, for a description's range, for flock */
    struct itimerval soon = { { 0, 20000 }, { 0, 20000 } }, never = { 0 };
    int other = open("locked", O_RDWR);
    WANT(lock(file, F_OFD_SETLK, F_WRLCK, 5), 0);
    WANT(flock(file, LOCK_EX), 0);
    setitimer(ITIMER_REAL, &soon, NULL);
    FAILS(lock(other, F_OFD_SETLKW, F_RDLCK, 5), EINTR);
    FAILS(flock(other, LOCK_SH), EINTR);
    FAILS(lock(file, F_SETLKW, F_WRLCK, 5), EINTR);
    setitimer(ITIMER_REAL, &never, NULL);
    FAILS(lock(other, F_OFD_SETLK, F_RDLCK, 5), EAGAIN);
    FAILS(flock(other, LOCK_SH | LOCK_NB), EAGAIN);

    /* the holder closes its description: who waits gets the lock */
    child = fork();
    if (!child) {
        close(file);
        tell();
        if (flock(other, LOCK_EX) || lock(other, F_OFD_SETLKW, F_WRLCK, 5))
            _exit(1);
        _exit(7);
    }
    hear(told[0]);
    until_asleep(child);
    close(file);
    WANT(ended(child), 7);
    return guest_end();
}
