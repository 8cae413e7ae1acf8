/* What the vDSO's functions say of a task is what the kernel says in pid namespaces too: by clone, fork and vfork, after
 * unshare and setns, nested, for threads, orphans, users, and for who leads another program there.
 *
 * The seven calls lie between two marks, writes to descriptors that nobody has: a trace shows which calls were made. */
#include "guest.h"
#include "../vdso/lookup.h"
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#define MARK_BEGIN -1001L
#define MARK_END -1002L
/* All six arguments: those that musl's syscall() is not given it takes from where they would be. */
#define CALL(number, ...) CALL6(number, __VA_ARGS__, 0L, 0L, 0L, 0L, 0L, 0L)
#define CALL6(number, a, b, c, d, e, f, ...) \
    syscall(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

typedef int id_function(void);

static const struct { const char *name; long number; } calls[] = {
    { "getpid", SYS_getpid }, { "gettid", SYS_gettid }, { "getppid", SYS_getppid }, { "getuid", SYS_getuid },
    { "geteuid", SYS_geteuid }, { "getgid", SYS_getgid }, { "getegid", SYS_getegid },
};
#define CALLS (sizeof calls / sizeof *calls)
static id_function *functions[CALLS];

/* How many of the answers differ from the kernel's, and from these three. -1: any number. */
static int differ(int pid, int tid, int ppid)
{
    int told[CALLS], wanted[3] = { pid, tid, ppid }, bad = 0;
    CALL(SYS_write, MARK_BEGIN, 0, 0);
    for (size_t i = 0; i < CALLS; i++)
        if (functions[i])
            told[i] = functions[i]();
    CALL(SYS_write, MARK_END, 0, 0);
    for (size_t i = 0; i < CALLS; i++) {
        int real = CALL(calls[i].number, 0);
        bad += functions[i] && told[i] != real;
        bad += i < 3 && wanted[i] >= 0 && real != wanted[i];
    }
    return bad;
}

static pid_t spawn(uint64_t flags)
{
    uint64_t args[11] = { flags, 0, 0, 0, SIGCHLD };
    fflush(stdout);
    return syscall(SYS_clone3, args, sizeof args, 0L, 0L, 0L, 0L);
}

static int reap(pid_t pid)
{
    int status = 0;
    if (waitpid(pid, &status, 0) != pid)
        return 99;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

/* In a child made with these flags; its status is how many answers were wrong. */
#define CHILD(flags, what) ({ \
        pid_t child_ = spawn(flags); \
        if (!child_) { int bad_ = (what); fflush(stdout); _exit(bad_ + guest_failures); } \
        reap(child_); })

static int wanted_tid, wanted_ppid;

static void *in_thread(void *unused)
{
    (void)unused;
    return (void *)(long)differ(1, wanted_tid, wanted_ppid);
}

/* In the first process of a namespace, whose parent is outside. */
static int threads(void)
{
    int bad = 0;
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        void *result;
        wanted_tid = 2 + i;
        pthread_create(&thread, NULL, in_thread, NULL);
        pthread_join(thread, &result);
        bad += (long)result;
    }
    return bad + differ(1, 1, 0);
}

static int children(void)
{
    int bad = differ(1, 1, 0);
    bad += CHILD(0, differ(2, 2, 1));
    pid_t child = vfork();
    if (!child)
        _exit(differ(3, 3, 1));
    bad += reap(child) + differ(1, 1, 0);
    bad += CHILD(0, (setresgid(-1, 13, -1), setresuid(11, 12, 12), differ(4, 4, 1)));
    return bad;
}

/* A child whose parent goes is the first process's, whoever that is. */
static int orphan(void)
{
    int up[2], bad = 0;
    unsigned char byte = 0;
    if (pipe(up))
        return 1;
    pid_t parent = spawn(0);
    if (!parent) {
        if (!spawn(0)) {
            byte = differ(3, 3, -1);
            while (CALL(SYS_getppid, 0) == 2)
                sched_yield();
            byte += differ(3, 3, 1);
            write(up[1], &byte, 1);
            _exit(0);
        }
        _exit(differ(2, 2, 1));
    }
    bad += reap(parent);
    bad += read(up[0], &byte, 1) != 1 || byte;
    return bad + reap(3);
}

/* The parent outside goes: 0 it is, as before. */
static int left_alone(void)
{
    int up[2], down[2];
    unsigned char byte = 0;
    if (pipe(up) || pipe(down))
        return 1;
    pid_t parent = spawn(0);
    if (!parent) {
        if (!spawn(CLONE_NEWPID)) {
            byte = differ(1, 1, 0);
            unsigned char none;
            close(down[1]);
            read(down[0], &none, 1); /* until the parent has gone */
            byte += differ(1, 1, 0);
            write(up[1], &byte, 1);
            _exit(0);
        }
        _exit(differ(-1, -1, -1));
    }
    int bad = reap(parent);
    close(down[0]);
    close(down[1]);
    return bad + (read(up[0], &byte, 1) != 1 || byte);
}

static int nested(int depth)
{
    return differ(1, 1, 0) + CHILD(0, differ(2, 2, 1)) + (depth ? CHILD(CLONE_NEWPID, nested(depth - 1)) : 0);
}

static int unshared(void)
{
    int self = CALL(SYS_getpid, 0), bad = differ(self, self, -1);
    if (unshare(CLONE_NEWPID))
        return 1;
    bad += differ(self, self, -1);
    pid_t first = spawn(0);
    if (!first) {
        bad = differ(1, 1, 0);
        for (;;)
            pause();
    }
    bad += CHILD(0, differ(2, 2, 0));
    bad += CHILD(0, differ(3, 3, 0) + CHILD(0, differ(4, 4, 3)));
    kill(first, SIGKILL);
    reap(first);
    return bad + differ(self, self, -1);
}

static int entered(void)
{
    int self = CALL(SYS_getpid, 0), bad = 0;
    pid_t first = spawn(CLONE_NEWPID);
    if (!first)
        for (;;)
            pause();
    int pidfd = CALL(SYS_pidfd_open, first, 0);
    bad += setns(pidfd, CLONE_NEWPID) != 0;
    bad += differ(self, self, -1);
    bad += CHILD(0, differ(2, 2, 0) + CHILD(CLONE_NEWPID, differ(1, 1, 0)));
    kill(first, SIGKILL);
    reap(first);
    return bad + differ(self, self, -1);
}

static void *becomes(void *path)
{
    execl("/proc/self/exe", (char *)path, "again", "1", "1", "0", (char *)NULL);
    return NULL;
}

/* A thread that starts another program is its leader then. */
static int another_program(void)
{
    int bad = CHILD(0, (execl("/proc/self/exe", "identity", "again", "2", "2", "1", (char *)NULL), 1));
    pthread_t thread;
    if (bad || pthread_create(&thread, NULL, becomes, "identity"))
        return bad + 1;
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    guest_start();
    char name[32];
    for (size_t i = 0; i < CALLS; i++) {
        sprintf(name, "__kernel_%s", calls[i].name);
        functions[i] = vdso_function(name);
    }
    if (argc == 5)
        return differ(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
    WANT(differ(-1, -1, -1), 0);
    WANT(CHILD(CLONE_NEWPID, threads()), 0);
    WANT(CHILD(CLONE_NEWPID, children()), 0);
    WANT(CHILD(CLONE_NEWPID, orphan()), 0);
    WANT(CHILD(0, left_alone()), 0);
    WANT(CHILD(CLONE_NEWPID, nested(4)), 0);
    WANT(CHILD(0, unshared()), 0);
    WANT(CHILD(CLONE_NEWPID, unshared()), 0);
    WANT(CHILD(0, entered()), 0);
    WANT(CHILD(CLONE_NEWPID, entered()), 0);
    WANT(CHILD(CLONE_NEWPID, another_program()), 0);
    WANT(CHILD(CLONE_NEWPID | CLONE_NEWTIME, children()), 0);
    WANT(differ(-1, -1, -1), 0);
    return guest_end();
}
