/* Tasks that make, enter and leave namespaces as chance has it, with senseless arguments among others, and that signal,
 * wait for and end one another. Nothing is checked here but that somebody gets to the end: the seed is the argument. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t state;
static int depth;

static uint32_t below(uint32_t limit)
{
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(state >> 33) % limit;
}

static const uint64_t kinds[] = { 0x20000000, 0x80, 0x04000000, 0x20000080, 0x10000000, 0x40000000, 0x200, 0x400, 0x100 };

static uint64_t flags(void)
{
    uint64_t found = 0;
    for (uint32_t i = below(3); i; i--)
        found |= below(12) ? kinds[below(sizeof kinds / sizeof *kinds)] : 1ULL << below(40);
    return found;
}

static void *thread(void *unused)
{
    unshare(flags() & ~0x100);
    syscall(SYS_getppid);
    return unused;
}

static void live(int steps);

static void make(void)
{
    if (depth > 3)
        return;
    int set_tid[3] = { (int)below(4), (int)below(9), -(int)below(3) };
    uint64_t wanted = flags() & ~(0x100ULL | 0x4000 | 0x800 | 0x80000), args[11] = { wanted & ~0x50000ULL & ~0x10000, 0, 0, 0, SIGCHLD };
    if (!below(4)) {
        args[8] = (uintptr_t)set_tid;
        args[9] = below(4);
    }
    long child = below(2) ? syscall(SYS_clone3, args, sizeof args, 0L, 0L, 0L, 0L) : fork();
    if (!child) {
        depth++;
        state ^= (uint64_t)depth * 0x9e3779b97f4a7c15ULL;
        live(12);
        _exit(0);
    }
}

static void live(int steps)
{
    static const char *names[] = { "pid", "pid_for_children", "time", "time_for_children", "uts", "none" };
    static const char *offsets[] = { "monotonic 100 0\n", "boottime -5 3\n", "7 1 1\n1 2 2\nx", "", "monotonic 1 1 1", "\n\n" };
    char name[64], text[64];
    int fd = -1;
    struct timespec now;
    for (int i = 0; i < steps; i++) {
        pid_t other = (pid_t)below(9) + (below(2) ? 0 : 1000);
        switch (below(15)) {
        case 0: case 1: case 2: make(); break;
        case 3: unshare(flags()); break;
        case 4: case 5:
            sprintf(name, "/proc/%d/ns/%s", below(2) ? (int)below(12) + 1000 : (int)syscall(SYS_getpid), names[below(6)]);
            if (fd >= 0)
                close(fd);
            fd = open(below(2) ? name : "/proc/self/ns/pid", O_RDONLY);
            readlink(name, text, sizeof text);
            break;
        case 6: setns(fd, below(2) ? 0 : (int)flags()); break;
        case 7: fd = syscall(SYS_pidfd_open, other, 0); break;
        case 8: if (other > 0 && (other < 1000 || other > 1001)) kill(other, below(3) ? SIGCHLD : below(2) ? SIGKILL : SIGTERM); break;
        case 9: waitpid(-1, NULL, WNOHANG); break;
        case 10: {
            int file = open("/proc/self/timens_offsets", O_RDWR);
            const char *line = offsets[below(6)];
            write(file, line, below(20));
            read(file, text, sizeof text);
            close(file);
            break;
        }
        case 11: {
            pthread_t made;
            if (!pthread_create(&made, NULL, thread, NULL))
                pthread_join(made, NULL);
            break;
        }
        case 12: ioctl(fd, 0xb701 + below(10), below(12)); ioctl(fd, 0x8004b706 + below(4), below(12)); break;
        case 13: setsid(); setpgid(0, other); ioctl(fd, 0xff01 + below(11), 0); break;
        case 14:
            clock_gettime(CLOCK_MONOTONIC, &now);
            if (!below(20))
                execl("/proc/self/exe", "storm", "last", (char *)NULL);
            break;
        }
    }
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    if (argc == 2 && argv[1][0] == 'l')
        return 0;
    state = strtoull(argv[1], NULL, 0) * 2 + 1;
    signal(SIGUSR1, SIG_IGN);
    for (int round = 0; round < 8; round++) {
        below(2);
        pid_t child = fork();
        if (!child) {
            signal(SIGUSR1, SIG_DFL);
            live(40);
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0)
        ;
    puts("over");
    return 0;
}
