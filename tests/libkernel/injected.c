/* Each of some functions again and again, while something outside sends SIGUSR1 before another instruction of the vDSO
 * each time: what it returns must be the same, and the handler must have run once.
 *
 * close(-1000) says that a trial begins, close(-1001) that it ends, and write(1000, ...) how many there were of one
 * function, 0 when one was not as it should be.
 */
#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <uabi/uabi.h>
#include <unistd.h>

static volatile int handled;
static char stack[8192] __attribute__((aligned(16)));
static int fds[2];

static void on_signal(int number)
{
    char room[600];

    memset(room, 0xaa, sizeof room);    /* below SP: nobody's */
    __asm__ volatile("" : : "r"(room) : "memory");
    handled += number == SIGUSR1;
}

static long ended(long pid)
{
    int status = 0;

    if (pid <= 0 || __kernel_wait4((int)pid, &status, 0, NULL) != pid)
        return -1;
    return WEXITSTATUS(status);
}

static int child(void *argument)
{
    return (int)(long)argument;
}

static long do_write(void)
{
    char bytes[2];

    return __kernel_write(fds[1], "ab", 2) * 10 + __kernel_read(fds[0], bytes, 2);
}

static long do_error(void)
{
    return __kernel_pread64(-1, NULL, 1, 1);
}

static long do_getcwd(void)
{
    char cwd[64];

    return __kernel_getcwd(cwd, sizeof cwd);
}

static long do_mmap(void)
{
    long at = __kernel_mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, ~0U, 0);

    return (at & 0xfff) + __kernel_munmap((void *)at, 4096);
}

static long do_brk(void)
{
    char *end = (char *)__kernel_brk(NULL);

    return (__kernel_brk(end + 4096) == (long)end + 4096) + __kernel_brk(end + (1L << 62)) * 10 +
           (__kernel_brk(end) == (long)end);
}

static long do_sleep(void)
{
    struct timespec time = { 0, 1000 };

    return __kernel_nanosleep(&time, NULL);
}


static long do_clone(void)
{
    return ended(uabi_clone(CLONE_VM | SIGCHLD, stack + sizeof stack, NULL, NULL, NULL, child, (void *)33L));
}

static long do_clone3(void)
{
    struct clone_args args = { .flags = CLONE_VM | CLONE_VFORK, .exit_signal = SIGCHLD };
    long pid = __kernel_clone3(&args, sizeof args);

    if (!pid) {
        on_signal(0);
        __kernel_exit(34);
    }
    return ended(pid);
}

static long do_vfork(void)
{
#ifdef __x86_64__
    long pid = __kernel_vfork();
#else
    long pid = __kernel_clone(CLONE_VM | CLONE_VFORK | SIGCHLD, NULL, NULL, 0, 0);
#endif
    if (!pid) {
        on_signal(0);
        __kernel_exit(35);
    }
    return ended(pid);
}

static const struct { long (*function)(void); long wanted; } functions[] = {
    { do_write, 22 }, { do_error, -EBADF }, { do_getcwd, 2 }, { do_mmap, 0 }, { do_brk, 2 - 10 * ENOMEM },
    { do_sleep, 0 }, { do_clone, 33 }, { do_clone3, 34 }, { do_vfork, 35 },
};

int main(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

    sigaction(SIGUSR1, &action, NULL);
    pipe(fds);
    for (unsigned i = 0; i < sizeof functions / sizeof *functions; i++) {
        unsigned long trials = 0;
        int good = 1;

        do {
            handled = 0;
            __kernel_close(-1000);
            good &= functions[i].function() == functions[i].wanted;
            __kernel_close(-1001);
            good &= handled <= 1;
            trials++;
        } while (handled && good);
        __kernel_write(1000, NULL, good ? trials : 0);
    }
    return 0;
}
