/* Tasks that change what they are, by chance: users and groups of threads, parents, names, CPUs, programs, namespaces.
 * After each change the vDSO's functions and the system call instruction must say what the kernel says, which is asked
 * by calls made inside the vDSO. Arguments: a seed, and how many changes each task makes. Exits with 0 if all agreed. */
#define _GNU_SOURCE
#include "../../guests/src/vdso/lookup.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLONE_NEWTIME_ 0x80
#define THREADS 3
#define DEPTH 3

typedef long answers(void *, void *, void *);
typedef long real_call(long number, ...);

static const struct { const char *name; long number; } calls[] = {
    { "getpid", SYS_getpid }, { "gettid", SYS_gettid }, { "getppid", SYS_getppid }, { "getuid", SYS_getuid },
    { "geteuid", SYS_geteuid }, { "getgid", SYS_getgid }, { "getegid", SYS_getegid },
};
#define CALLS (sizeof calls / sizeof *calls)
static answers *functions[CALLS], *getcpu_there;
static real_call *kernel;
static char *self, **arguments;
static _Atomic int bad;

static void wrong_at(int line)
{
    printf("wrong at line %d\n", line);
    bad++;
}
#define WRONG() wrong_at(__LINE__)

struct task {
    unsigned chance;
    int depth;
    int pinned; /* the only CPU that it may run on, or -1 */
    const char *last;
};

static unsigned choose(struct task *task, unsigned below)
{
    task->chance ^= task->chance << 13;
    task->chance ^= task->chance >> 17;
    task->chance ^= task->chance << 5;
    return task->chance % below;
}

static void compare(struct task *task)
{
    for (size_t i = 0; i < CALLS; i++) {
        /* a parent may end at any time */
        int before = kernel(calls[i].number), told = functions[i](0, 0, 0), made = syscall(calls[i].number);
        int after = kernel(calls[i].number);
        if ((told != before && told != after) || (made != before && made != after)) {
            printf("%s after %s: the function says %d, the call %d, the kernel %d and %d\n", calls[i].name, task->last,
                   told, made, before, after);
            bad++;
        }
    }
    unsigned cpu = 77, node = 77, called = 77, called_node = 77;
    if (getcpu_there(&cpu, &node, 0) || syscall(SYS_getcpu, &called, &called_node, 0L))
        WRONG();
    if (cpu >= 64 || called >= 64 || node || called_node)
        WRONG();
    if (task->pinned >= 0 && (cpu != (unsigned)task->pinned || called != cpu)) {
        printf("getcpu after %s: %u and %u, on CPU %d\n", task->last, cpu, called, task->pinned);
        bad++;
    }
}

static void changes(struct task *task, int count);

static void wait_for(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        WRONG();
}

static void in_child(struct task *task, const char *what)
{
    task->depth++;
    task->last = what;
    compare(task);
    changes(task, 4);
    fflush(stdout);
    _exit(bad != 0);
}

/* The child's own child outlives it, and gets another parent: the nearest that asked for orphans, or the first process. */
static void orphan(struct task *task)
{
    int done[2];
    char byte;
    if (pipe(done))
        return;
    prctl(PR_SET_CHILD_SUBREAPER, choose(task, 2));
    pid_t child = fork();
    if (!child) {
        pid_t parent = getpid();
        if (!fork()) {
            struct task own = { choose(task, 1000) + 1, DEPTH, task->pinned, "its parent's end" };
            while (kernel(SYS_getppid) == parent)
                sched_yield();
            compare(&own);
            write(done[1], bad ? "b" : "g", 1);
            _exit(0);
        }
        _exit(0);
    }
    wait_for(child);
    if (read(done[0], &byte, 1) != 1 || byte != 'g')
        WRONG();
    close(done[0]);
    close(done[1]);
}

static pid_t raw_clone(long flags)
{
    return syscall(SYS_clone, flags | SIGCHLD, 0L, 0L, 0L, 0L);
}

/* CLONE_PARENT: a child whose parent is ours. Whoever is asked for that by the first process can't do it. */
static void sibling(struct task *task)
{
    pid_t child = fork();
    if (!child) {
        int done[2];
        char byte = 'g';
        if (pipe(done))
            _exit(1);
        pid_t other = raw_clone(CLONE_PARENT);
        if (!other) {
            task->last = "CLONE_PARENT";
            compare(task);
            write(done[1], bad ? "b" : "g", 1);
            _exit(0);
        }
        if (other > 0 && read(done[0], &byte, 1) != 1)
            WRONG();
        _exit(byte != 'g');
    }
    wait_for(child);
}

static void user_or_group(struct task *task)
{
    long a = (int)choose(task, 5) - 1, b = (int)choose(task, 5) - 1, c = (int)choose(task, 5) - 1;
    switch (choose(task, 10)) {
    case 0: task->last = "setuid"; syscall(SYS_setuid, a); break;
    case 1: task->last = "setgid"; syscall(SYS_setgid, a); break;
    case 2: task->last = "setreuid"; syscall(SYS_setreuid, a, b); break;
    case 3: task->last = "setregid"; syscall(SYS_setregid, a, b); break;
    case 4: case 5: task->last = "setresuid"; syscall(SYS_setresuid, a, b, c); break;
    case 6: case 7: task->last = "setresgid"; syscall(SYS_setresgid, a, b, c); break;
    case 8: task->last = "setfsuid"; syscall(SYS_setfsuid, a); break;
    case 9: task->last = "setfsgid"; syscall(SYS_setfsgid, a); break;
    }
}

static void variable(struct task *task)
{
    task->last = "prctl";
    switch (choose(task, 5)) {
    case 0: prctl(PR_SET_NAME, choose(task, 2) ? "one" : "another"); break;
    case 1: prctl(PR_SET_DUMPABLE, choose(task, 2)); break;
    case 2: prctl(PR_SET_KEEPCAPS, choose(task, 2)); break;
    case 3: prctl(PR_SET_PDEATHSIG, choose(task, 2) ? SIGURG : 0); break;
    case 4: prctl(PR_SET_TIMERSLACK, 1 + choose(task, 1000)); break;
    }
}

static void change(struct task *task)
{
    pid_t child;
    unsigned what = choose(task, task->depth < DEPTH ? 20 : 12);
    if (what < 7) {
        user_or_group(task);
    } else if (what < 9) {
        variable(task);
    } else if (what < 11) {
        task->last = "sched_setaffinity";
        unsigned long mask = 1UL << choose(task, 4);
        if (!syscall(SYS_sched_setaffinity, 0, sizeof mask, &mask))
            task->pinned = __builtin_ctzl(mask);
    } else if (what < 12) {
        task->last = "sched_yield";
        sched_yield();
    } else if (what < 14) {
        task->last = "fork";
        fflush(stdout);
        if (!(child = fork()))
            in_child(task, "its birth by fork");
        wait_for(child);
    } else if (what < 15) {
        task->last = "vfork";
        fflush(stdout);
        if (!(child = vfork())) {
            compare(task);
            _exit(0);
        }
        wait_for(child);
    } else if (what < 16) {
        task->last = "an orphan";
        orphan(task);
    } else if (what < 17) {
        task->last = "a sibling";
        sibling(task);
    } else if (what < 18) {
        task->last = "another program";
        fflush(stdout);
        if (!(child = fork())) {
            char seed[16];
            snprintf(seed, sizeof seed, "%u", choose(task, 1000) + 1);
            execl(self, self, seed, "3", "again", (char *)0);
            _exit(0); /* another user may not be allowed to */
        }
        wait_for(child);
    } else {
        static const long kinds[] = { CLONE_NEWPID, CLONE_NEWPID | CLONE_PARENT, CLONE_NEWUTS };
        static const long apart[] = { 0, CLONE_NEWPID, CLONE_NEWTIME_, CLONE_FS };
        task->last = "a namespace";
        fflush(stdout);
        child = raw_clone(kinds[choose(task, 3)]);
        if (!child) {
            syscall(SYS_unshare, apart[choose(task, 4)]);
            in_child(task, "its birth in a namespace");
        }
        if (child > 0 && waitpid(child, 0, 0) < 0 && errno != ECHILD) /* which CLONE_PARENT makes another's */
            WRONG();
    }
}

static void changes(struct task *task, int count)
{
    while (count--) {
        change(task);
        compare(task);
    }
}

static void *thread(void *task)
{
    changes(task, atoi(arguments[2]));
    return 0;
}

int main(int argc, char **argv)
{
    struct task tasks[THREADS + 1];
    pthread_t threads[THREADS];
    unsigned seed = argc > 1 ? atoi(argv[1]) : 1;
    char name[32];
    arguments = argv;
    self = argv[0];
    kernel = vdso_function("__kernel_syscall");
    for (size_t i = 0; i < CALLS; i++) {
        snprintf(name, sizeof name, "__kernel_%s", calls[i].name);
        functions[i] = vdso_function(name);
    }
    void *there = vdso_function("__kernel_getcpu");
    getcpu_there = there ? there : vdso_function("__vdso_getcpu");
    prctl(PR_SET_SECUREBITS, 4L); /* SECBIT_NO_SETUID_FIXUP: who is no user 0 any more may still become another */
    for (int i = 0; i <= THREADS; i++)
        tasks[i] = (struct task){ seed * 7919 + i * 104729 + 1, argc > 3 ? DEPTH : 0, -1, "the beginning" };
    compare(&tasks[THREADS]);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], 0, thread, &tasks[i]);
    changes(&tasks[THREADS], atoi(argv[2]));
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], 0);
    compare(&tasks[THREADS]);
    if (argc == 3)
        puts(bad ? "not well" : "well");
    return bad != 0;
}
