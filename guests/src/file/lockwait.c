/* Locks between processes: who is kept out, who waits, when a wait ends, what a process's end gives back; and writes and
 * splices that wait for the other side of a pipe.
 * man 2 fcntl, man 2 flock, man 2 splice */
#include "guest.h"
#include <sys/file.h>
#include <sys/wait.h>

static int fd;

static int lock(int cmd, int type, long start, long len)
{
    struct flock range = { .l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };
    return fcntl(fd, cmd, &range) == -1 ? errno : 0;
}

static int ended(pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) != child)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void on_alarm(int signal)
{
    (void)signal;
}

static void waits_and_deadlock(void)
{
    int ready[2];
    char byte;
    pipe(ready);
    WANT(lock(F_SETLK, F_WRLCK, 0, 1), 0);
    pid_t child = fork();
    if (!child) {
        struct flock seen = { .l_type = F_RDLCK };
        if (lock(F_SETLK, F_RDLCK, 0, 1) != EAGAIN)
            _exit(1);
        if (fcntl(fd, F_GETLK, &seen) || seen.l_type != F_WRLCK || seen.l_len != 1 || seen.l_pid != getppid())
            _exit(2);
        if (lock(F_SETLK, F_WRLCK, 1, 1))
            _exit(3);
        write(ready[1], "", 1);
        if (lock(F_SETLKW, F_WRLCK, 0, 1))
            _exit(4);
        _exit(0);
    }
    WANT(read(ready[0], &byte, 1), 1);
    usleep(100000);
    WANT(lock(F_SETLKW, F_WRLCK, 1, 1), EDEADLK);
    /* any close of the file by the process gives its locks back */
    WANT(close(open("locked", O_RDONLY)), 0);
    WANT(ended(child), 0);
}

static void interrupted(void)
{
    WANT(lock(F_SETLK, F_WRLCK, 0, 1), 0);
    pid_t child = fork();
    if (!child) {
        struct sigaction action = { .sa_handler = on_alarm };
        sigaction(SIGALRM, &action, NULL);
        ualarm(50000, 0);
        _exit(lock(F_SETLKW, F_WRLCK, 0, 1));
    }
    WANT(ended(child), EINTR);
    WANT(lock(F_SETLK, F_UNLCK, 0, 0), 0);
}

static void given_back_at_exit(void)
{
    pid_t child = fork();
    if (!child)
        _exit(lock(F_SETLK, F_WRLCK, 5, 1));
    WANT(ended(child), 0);
    WANT(lock(F_SETLK, F_WRLCK, 5, 1), 0);
}

static void whole_files(void)
{
    int ready[2];
    char byte;
    pipe(ready);
    int own = open("locked", O_RDONLY);
    WANT(flock(own, LOCK_EX), 0);
    pid_t child = fork();
    if (!child) {
        /* the parent's description is shared, and so is its lock */
        if (flock(own, LOCK_EX | LOCK_NB))
            _exit(1);
        int other = open("locked", O_RDONLY);
        if (flock(other, LOCK_SH | LOCK_NB) != -1 || errno != EWOULDBLOCK)
            _exit(2);
        close(own);
        write(ready[1], "", 1);
        _exit(flock(other, LOCK_SH) ? 3 : 0);
    }
    WANT(read(ready[0], &byte, 1), 1);
    usleep(20000);
    WANT(close(own), 0);
    WANT(ended(child), 0);
}

static void pipes(void)
{
    static char much[300000], some[5000];
    int fds[2];
    long total = 0, count;
    pipe(fds);
    pid_t child = fork();
    if (!child) {
        close(fds[0]);
        _exit(write(fds[1], much, sizeof much) != sizeof much);
    }
    close(fds[1]);
    while ((count = read(fds[0], some, sizeof some)) > 0)
        total += count;
    WANT(total, sizeof much);
    WANT(ended(child), 0);

    pipe(fds);
    child = fork();
    if (!child) {
        close(fds[0]);
        for (int i = 0; i < 10; i++)
            if (write(fds[1], "0123456789", 10) != 10)
                _exit(1);
        _exit(0);
    }
    close(fds[1]);
    int out = open("spliced", O_RDWR | O_CREAT, 0600);
    for (total = 0; (count = splice(fds[0], NULL, out, NULL, 1000, 0)) > 0;)
        total += count;
    WANT(total, 100);
    WANT(lseek(out, 0, SEEK_END), 100);
    WANT(ended(child), 0);
}

int main(void)
{
    guest_start();
    fd = open("locked", O_RDWR | O_CREAT, 0600);
    waits_and_deadlock();
    interrupted();
    given_back_at_exit();
    whole_files();
    pipes();
    unlink("locked");
    unlink("spliced");
    return guest_end();
}
