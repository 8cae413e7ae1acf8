/* Threads, and errno, of which each has one. */
#include "internal.h"
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#define STACK_BYTES (64UL << 10)
#define ARCH_SET_FS 0x1002          /* arch/x86/include/uapi/asm/prctl.h */

static struct uabi_thread first;

/* The thread that runs, from the register that the ABI gives to threads. */
static struct uabi_thread *current(void)
{
    struct uabi_thread *self;

#ifdef __x86_64__
    __asm__("mov %%fs:0, %0" : "=r"(self));
#else
    __asm__("mrs %0, tpidr_el0" : "=r"(self));
#endif
    return self;
}

int *__errno_location(void)
{
    return &current()->error;
}

void uabi_first_thread(void)
{
    first.self = &first;
#ifdef __x86_64__
    __kernel_arch_prctl(ARCH_SET_FS, &first);
#else
    __asm__ volatile("msr tpidr_el0, %0" : : "r"(&first));
#endif
}

static int run(void *thread)
{
    struct uabi_thread *self = thread;

    self->result = self->function(self->argument);
    return 0;
}

struct uabi_thread *uabi_thread_start(int (*function)(void *), void *argument)
{
    const unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                                CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
    char *memory = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uabi_thread *thread;
    long result;

    if (memory == MAP_FAILED)
        return NULL;
    thread = (void *)(memory + STACK_BYTES - sizeof *thread);
    thread->self = thread;
    thread->function = function;
    thread->argument = argument;
    thread->memory = memory;
    thread->memory_bytes = STACK_BYTES;
    result = uabi_clone(flags, thread, &thread->tid, thread, &thread->tid, run, thread);
    if (result < 0) {
        munmap(memory, STACK_BYTES);
        told(result);
        return NULL;
    }
    return thread;
}

int uabi_thread_join(struct uabi_thread *thread)
{
    int tid, result;

    while ((tid = __atomic_load_n(&thread->tid, __ATOMIC_ACQUIRE)))
        __kernel_futex(&thread->tid, FUTEX_WAIT, (unsigned)tid, 0, NULL, 0);
    result = thread->result;
    munmap(thread->memory, thread->memory_bytes);
    return result;
}

/* -- a program in a child that shares our memory until then -- */
struct spawn {
    const char *path;
    char *const *argv;
    char *const *envp;
    long error;
};

static int spawned(void *given)
{
    struct spawn *spawn = given;

    spawn->error = __kernel_execve(spawn->path, (void *)spawn->argv, (void *)spawn->envp);
    return 127;
}

int uabi_spawn(const char *path, char *const argv[], char *const envp[])
{
    struct spawn spawn = { path, argv, envp, 0 };
    char stack[4096] __attribute__((aligned(16)));
    long pid = uabi_clone(CLONE_VM | CLONE_VFORK | SIGCHLD, stack + sizeof stack, NULL, NULL, NULL, spawned, &spawn);

    if (pid >= 0 && spawn.error) {
        __kernel_wait4((int)pid, NULL, 0, NULL);
        pid = spawn.error;
    }
    return (int)told(pid);
}
