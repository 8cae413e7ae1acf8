/* What the vDSO's functions say of a task is what the kernel says, whatever has become of it: threads, fork, vfork,
 * orphans, execve, other users, other CPUs, signals. Where there are no such functions the kernel is asked twice.
 *
 * The eight calls lie between two marks, writes to descriptors that nobody has: a trace shows which calls were made.
 * With an argument, only: `many`, more threads than there is room for; `moved`, what munmap and mremap do to it all. */
#include "guest.h"
#include "lookup.h"
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>

/* All six arguments: those that musl's syscall() is not given it takes from where they would be. */
#define CALL(number, ...) CALL6(number, __VA_ARGS__, 0L, 0L, 0L, 0L, 0L, 0L)
#define CALL6(number, a, b, c, d, e, f, ...) \
    syscall(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define MARK_BEGIN -1001
#define MARK_END -1002

typedef int id_function(void);
typedef int getcpu_function(unsigned *, unsigned *, void *);

static const struct { const char *name; long number; } calls[] = {
    { "getpid", SYS_getpid }, { "gettid", SYS_gettid }, { "getppid", SYS_getppid }, { "getuid", SYS_getuid },
    { "geteuid", SYS_geteuid }, { "getgid", SYS_getgid }, { "getegid", SYS_getegid },
};
#define CALLS (sizeof calls / sizeof *calls)
static id_function *functions[CALLS];
static getcpu_function *getcpu_there;

static void find_functions(void)
{
    char name[32];
    for (size_t i = 0; i < CALLS; i++) {
        sprintf(name, "__kernel_%s", calls[i].name);
        functions[i] = vdso_function(name);
    }
    getcpu_there = vdso_function("__kernel_getcpu");
    if (!getcpu_there)
        getcpu_there = vdso_function("__vdso_getcpu");
}

/* How many of the eight differ from what the kernel says. `pinned`: the task can't be moved between the two. */
static int differ(int pinned)
{
    int told[CALLS], bad = 0;
    unsigned cpu = 77, node = 77, real_cpu, real_node;
    CALL(SYS_write, MARK_BEGIN, 0, 0);
    for (size_t i = 0; i < CALLS; i++)
        if (functions[i])
            told[i] = functions[i]();
    if (getcpu_there)
        getcpu_there(&cpu, &node, 0);
    CALL(SYS_write, MARK_END, 0, 0);
    for (size_t i = 0; i < CALLS; i++)
        bad += functions[i] && told[i] != CALL(calls[i].number, 0);
    CALL(SYS_getcpu, &real_cpu, &real_node, 0);
    if (getcpu_there)
        bad += node != real_node || (pinned && cpu != real_cpu);
    return bad;
}

#define AGREE(what) do { \
        int bad_ = differ(0); \
        if (bad_) guest_fail(__FILE__, __LINE__); \
        printf("%s: %s\n", what, bad_ ? "no" : "the same"); \
    } while (0)
/* The same in a child, which says by its status how many differ. */
#define CHILD(what, statement) do { \
        fflush(stdout); \
        pid_t child_ = fork(); \
        if (!child_) { statement; fflush(stdout); _exit(differ(0) + guest_failures); } \
        int status_ = -1; \
        waitpid(child_, &status_, 0); \
        if (status_) guest_fail(__FILE__, __LINE__); \
        printf("%s: %s\n", what, status_ ? "no" : "the same"); \
    } while (0)

static volatile int seen;

static void *in_thread(void *unused)
{
    (void)unused;
    seen += differ(0);
    return 0;
}

static void *in_turns(void *unused)
{
    long bad = 0;
    (void)unused;
    for (int i = 0; i < 60; i++) {
        bad += differ(0);
        sched_yield();
    }
    return (void *)bad;
}

static void threads(void)
{
    pthread_t thread, many[6];
    for (int i = 0; i < 20; i++) { /* one after the other: places are used again */
        pthread_create(&thread, 0, in_thread, 0);
        pthread_join(thread, 0);
    }
    WANT(seen, 0);
    for (int i = 0; i < 6; i++)
        pthread_create(&many[i], 0, in_turns, 0);
    AGREE("with six threads");
    for (int i = 0; i < 6; i++) {
        void *bad;
        pthread_join(many[i], &bad);
        seen += (long)bad;
    }
    WANT(seen, 0);
    AGREE("after them");
}

static void processes(void)
{
    CHILD("a child", ;);
    CHILD("a child's child", CHILD("its child", ;));
    CHILD("a thread of a child", ({
        pthread_t thread;
        pthread_create(&thread, 0, in_thread, 0);
        pthread_join(thread, 0);
        guest_failures += seen;
    }));
    AGREE("the parent");
    /* a child in its parent's memory */
    int status = -1;
    pid_t child = vfork();
    if (!child)
        _exit(differ(0));
    waitpid(child, &status, 0);
    WANT(status, 0);
    AGREE("the parent of a vfork");
    /* a child whose parent dies gets another one */
    int *shared = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), done[2];
    if (pipe(done))
        return;
    child = fork();
    if (!child) {
        pid_t parent = getpid();
        if (!fork()) {
            shared[0] = differ(0);
            while (CALL(SYS_getppid, 0) == parent)
                sched_yield();
            shared[1] = differ(0);
            write(done[1], "x", 1);
        } else {
            while (shared[0]++ < 100)
                sched_yield();
        }
        _exit(0);
    }
    waitpid(child, 0, 0);
    char byte;
    WANT(read(done[0], &byte, 1), 1);
    WANT(shared[1], 0);
}

static void *other_user(void *unused)
{
    long bad = 0;
    (void)unused;
    CALL(SYS_setresgid, -1, 13, 0); /* this thread alone; nothing happens to who is not root */
    bad += differ(0);
    CALL(SYS_setresuid, 11, 12, 0);
    bad += differ(0);
    CALL(SYS_setresuid, 0, 0, 0);
    bad += differ(0);
    return (void *)bad;
}

static void users(void)
{
    pthread_t thread;
    void *bad;
    pthread_create(&thread, 0, other_user, 0);
    AGREE("while a thread is another user");
    pthread_join(thread, &bad);
    WANT((long)bad, 0);
    CHILD("setreuid", CALL(SYS_setreuid, 0, 21));
    CHILD("setregid", CALL(SYS_setregid, 22, 23));
    CHILD("setuid", CALL(SYS_setuid, 24));
    CHILD("setgid", CALL(SYS_setgid, 25));
    CHILD("setresuid", CALL(SYS_setresuid, 26, 27, 28));
    CHILD("setresgid", CALL(SYS_setresgid, 29, 30, 31));
    CHILD("setfsuid", CALL(SYS_setfsuid, 32));
    CHILD("a refused setuid", ({
        CALL(SYS_setresuid, 33, 33, 33);
        CALL(SYS_setuid, 34);
    }));
    AGREE("the parent of them");
}

static void cpus(void)
{
    int bad = 0;
    for (unsigned cpu = 0; cpu < 4; cpu++) {
        unsigned long mask = 1UL << cpu;
        bad += !CALL(SYS_sched_setaffinity, 0, sizeof mask, &mask) && differ(1);
    }
    WANT(bad, 0);
}

static volatile int in_handler = -1;

static void handler(int number)
{
    (void)number;
    in_handler = differ(0);
}

static void signals(void)
{
    struct sigaction action = { .sa_handler = handler };
    sigaction(SIGUSR1, &action, 0);
    raise(SIGUSR1);
    WANT(in_handler, 0);
    AGREE("after a handler");
}

/* -- many -- */
#define MANY 1100
static pthread_barrier_t barrier;
static int many_bad;

static void *one_of_many(void *unused)
{
    (void)unused;
    pthread_barrier_wait(&barrier);
    int bad = differ(0);
    __atomic_add_fetch(&many_bad, bad, __ATOMIC_RELAXED);
    return 0;
}

static int many(void)
{
    static pthread_t all[MANY];
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 16384);
    pthread_barrier_init(&barrier, 0, MANY + 1);
    for (int i = 0; i < MANY; i++)
        if (pthread_create(&all[i], &attr, one_of_many, 0))
            return 1;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < MANY; i++)
        pthread_join(all[i], 0);
    WANT(many_bad, 0);
    AGREE("when they are gone");
    return guest_end();
}

/* -- moved -- */
static size_t find(const char *name, char **start)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    size_t size = 0;
    while (fgets(line, sizeof line, maps)) {
        unsigned long low, high;
        if (strstr(line, name) && sscanf(line, "%lx-%lx", &low, &high) == 2) {
            *start = (char *)low;
            size = high - low;
        }
    }
    fclose(maps);
    return size;
}

#define MOVE (MREMAP_MAYMOVE | MREMAP_FIXED)

static int moved(void)
{
    char *data = 0, *vvar = 0, *vdso = 0;
    size_t data_size = find("[vcpu]", &data), vvar_size = find("[vvar]", &vvar), vdso_size = find("[vdso]", &vdso);
    if (!data_size)
        data_size = find("[vthread]", &data);
    char *room = mmap(0, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data_size) {
        CHILD("unmapped", WANT(munmap(data, data_size), 0));
        CHILD("replaced",
              WANT(mmap(data, data_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == data, 1));
        CHILD("moved", WANT(mremap(data, data_size, data_size, MOVE, room) == room, 1));
        CHILD("moved, and another process", ({
            WANT(mremap(data, data_size, data_size, MOVE, room) == room, 1);
            CHILD("a child of that", ;);
        }));
        CHILD("moved there and back", ({
            WANT(mremap(data, data_size, data_size, MOVE, room) == room, 1);
            WANT(mremap(room, data_size, data_size, MOVE, data) == data, 1);
        }));
        CHILD("kept from children", ({
            WANT(madvise(data, data_size, MADV_DONTFORK), 0);
            CHILD("a child of that", ;);
        }));
    }
    CHILD("all moved", ({
        char *to = room + data_size + vvar_size;
        if (data_size)
            WANT(mremap(data, data_size, data_size, MOVE, room) == room, 1);
        WANT(mremap(vvar, vvar_size, vvar_size, MOVE, to - vvar_size) == to - vvar_size, 1);
        WANT(mremap(vdso, vdso_size, vdso_size, MOVE, to) == to, 1);
        for (size_t i = 0; i < CALLS; i++)
            functions[i] = (id_function *)((char *)functions[i] + (to - vdso));
        getcpu_there = (getcpu_function *)((char *)getcpu_there + (to - vdso));
        CHILD("a child of that", ;);
    }));
    AGREE("the parent");
    return guest_end();
}

int main(int argc, char **argv)
{
    guest_start();
    find_functions();
    if (argc > 1 && !strcmp(argv[1], "again"))
        return differ(0);
    if (argc > 1 && !strcmp(argv[1], "many"))
        return many();
    if (argc > 1 && !strcmp(argv[1], "moved"))
        return moved();
    AGREE("at the start");
    threads();
    processes();
    users();
    cpus();
    signals();
    CHILD("another program", execl("/proc/self/exe", "identity", "again", (char *)0));
    return guest_end();
}
