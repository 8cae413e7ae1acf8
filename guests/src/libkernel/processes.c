/* Processes and threads by functions of the vDSO: children on their parent's stack and on their own, with return
 * addresses that must come out right in both; exec, exit, wait.
 * guest-library: libkernel
 */
#include "guest.h"
#include <linux/sched.h>
#include <sched.h>
#include <sys/wait.h>
#include <uabi/uabi.h>

static char stack[16384] __attribute__((aligned(16)));
static volatile int shared;

static int ended(pid_t pid)
{
    int status = -1;

    if (waitpid(pid, &status, 0) != pid)
        return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int child(void *argument)
{
    shared += *(int *)argument;
    return 40 + *(int *)argument;
}

/* vfork with our own frame below the call's: what the child leaves on the stack must not matter to the parent. */
__attribute__((noinline)) static long scribble(long deep)
{
    volatile char room[512];

    for (unsigned i = 0; i < sizeof room; i++)
        room[i] = (char)0xaa;
    return deep ? scribble(deep - 1) + room[7] : room[3];
}

__attribute__((noinline)) static long vforked(void)
{
    long pid;

#ifdef __x86_64__
    pid = __kernel_vfork();
#else
    pid = __kernel_clone(CLONE_VM | CLONE_VFORK | SIGCHLD, NULL, NULL, 0, 0);
#endif
    if (!pid) {
        scribble(8);
        shared++;
        __kernel_exit(21);
    }
    return pid;
}

__attribute__((noinline)) static long vforked3(void)
{
    struct clone_args args = { .flags = CLONE_VM | CLONE_VFORK, .exit_signal = SIGCHLD };
    long pid = __kernel_clone3(&args, sizeof args);

    if (!pid) {
        scribble(8);
        shared++;
        __kernel_exit(22);
    }
    return pid;
}

static int many(void *argument)
{
    for (int i = 0; i < 200; i++)
        __atomic_add_fetch((int *)argument, 1, __ATOMIC_SEQ_CST);
    errno = 0;
    if (close(-1) != -1 || errno != EBADF)
        return 1;
    return 0;
}

int main(int argc, char **argv, char **envp)
{
    char *words[] = { argv[0], (char *)"child", NULL };
    int number = 2, counter = 0, failed = 0;
    long pid;

    if (argc > 1)
        return 33;
    guest_start();

    puts("-- fork");
    pid = fork();
    if (!pid)
        _exit(5);
    WANT(ended((pid_t)pid), 5);

    puts("-- vfork, and clone3 like it: the child spoils the stack below");
    pid = vforked();
    CHECK(pid > 0);
    WANT(ended((pid_t)pid), 21);
    pid = vforked3();
    CHECK(pid > 0);
    WANT(ended((pid_t)pid), 22);
    WANT(shared, 2);

    puts("-- clone with a stack of its own");
    memset(stack, 0xaa, sizeof stack);
    pid = uabi_clone(CLONE_VM | SIGCHLD, stack + sizeof stack, NULL, NULL, NULL, child, &number);
    CHECK(pid > 0);
    WANT(ended((pid_t)pid), 42);
    WANT(shared, 4);
    WANT(__kernel_clone(CLONE_SIGHAND, NULL, NULL, 0, 0), -EINVAL);
    WANT(__kernel_clone3(NULL, 8), -EINVAL);

    puts("-- a program in a child that shares our memory");
    WANT(ended(uabi_spawn(argv[0], words, envp)), 33);
    FAILS(uabi_spawn("/nowhere", words, envp), ENOENT);

    puts("-- threads, each with its errno");
    struct uabi_thread *threads[4];
    errno = 77;
    for (int i = 0; i < 4; i++)
        failed += !(threads[i] = uabi_thread_start(many, &counter));
    for (int i = 0; i < 4; i++)
        failed += uabi_thread_join(threads[i]);
    WANT(failed, 0);
    WANT(counter, 800);

    puts("-- a call that one of the architectures lacks");
#ifdef SYS_open
    const int wanted = -ENOENT;
#else
    const int wanted = -ENOSYS;
#endif
    CHECK(__kernel_open("/nowhere", O_RDONLY, 0) == wanted);
    return guest_end();
}
