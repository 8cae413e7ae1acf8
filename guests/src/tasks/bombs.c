/* A fork bomb and a thread bomb: every process forks, and every thread makes threads, until nobody can any more. Each
 * attempt beyond RLIMIT_NPROC is EAGAIN, the limit is reached exactly, and all is as before once they have gone.
 * man 2 fork, man 2 setrlimit, man 2 execve (EAGAIN); kernel/fork.c:copy_process() */
#include "guest.h"
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define LIMIT 100

static struct {
    volatile int tasks, refused, other;
} *seen;
static int alone;
static uid_t user;                          /* who has nothing else, nor has the next one */

static void add(volatile int *counter) { __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST); }

static void was_refused(int error)
{
    add(&seen->refused);
    if (error != EAGAIN)
        add(&seen->other);
}

/* Until a good many attempts have failed, wherever they were made. */
static int goes_on(void) { return seen->refused < 3 * LIMIT; }

/* Whoever runs this forks, as do its children. */
static void fork_bomb(void)
{
    while (goes_on()) {
        pid_t child = fork();
        if (child < 0)
            was_refused(errno);
        else if (!child)
            add(&seen->tasks);
        sched_yield();
    }
}

static void *thread_bomb(void *arg)
{
    pthread_t threads[LIMIT];
    pthread_attr_t attributes;
    int made = 0;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 << 10);
    add(&seen->tasks);
    while (goes_on()) {
        int error = made < LIMIT ? pthread_create(&threads[made], &attributes, thread_bomb, NULL) : EAGAIN;
        if (error)
            was_refused(error);
        else
            made++;
        sched_yield();
    }
    while (made)
        pthread_join(threads[--made], NULL);
    return arg;
}

/* In a process of its own; each waits for its own children. */
static void explode(const char *name, int threads)
{
    int status = -1;
    puts(name);
    fflush(stdout);
    memset((void *)seen, 0, sizeof *seen);
    pid_t first = fork();
    if (!first) {
        if (threads) {
            thread_bomb(NULL);
            _exit(0);
        }
        pid_t me = getpid();
        add(&seen->tasks);
        fork_bomb();
        while (wait(NULL) > 0)
            ;
        _exit(getpid() == me ? 0 : 1);
    }
    WANT(waitpid(first, &status, 0) == first ? status : -1, 0);
    CHECK(seen->refused >= 3 * LIMIT);
    WANT(seen->other, 0);
    CHECK(!alone || seen->tasks >= LIMIT - 1);
}

/* Somebody becomes a user who has too many: that is no error, but execve is, as long as there are too many. */
static void one_too_many(void)
{
    char *const argv[] = { "bombs", "again", NULL };
    int go[2], told[2], status;
    char byte;
    puts("one too many");
    fflush(stdout);
    pipe(go);
    pipe(told);
    for (int i = 0; i < 3; i++)
        if (!fork()) {
            close(go[1]);
            if (setresuid(user, user, user))
                _exit(1);
            (void)!write(told[1], "x", 1);
            (void)!read(go[0], &byte, 1);
            _exit(0);
        }
    for (int i = 0; i < 3; i++)
        (void)!read(told[0], &byte, 1);
    pid_t late = fork();
    if (!late) {
        struct rlimit limit = { 2, 2 };
        close(go[1]);
        WANT(setrlimit(RLIMIT_NPROC, &limit), 0);
        WANT(setresuid(user, user, user), 0);
        FAILS(execv("/proc/self/exe", argv), EAGAIN);
        FAILS(fork(), EAGAIN);
        FAILS(execv("/nowhere", argv), EAGAIN);        /* before the name is looked up */
        fflush(stdout);
        _exit(5);
    }
    WANT(waitpid(late, &status, 0) == late ? status : -1, 5 << 8);
    close(go[1]);
    while (wait(NULL) > 0)
        ;
}

/* bombs [as-root]: root is not limited; what ends is the kernel's room for tasks. */
int main(int argc, char **argv)
{
    struct rlimit limit = { LIMIT, LIMIT };
    guest_start();
    seen = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    user = 100000 + 2 * getpid();
    (void)argv;
    if (getuid() == 0 && argc == 1)
        one_too_many();
    /* the limit counts the user's tasks everywhere: be somebody who has none, if that may be chosen */
    alone = getuid() == 0 && argc == 1 && !setresgid(user + 1, user + 1, user + 1) &&
            !setresuid(user + 1, user + 1, user + 1);
    WANT(setrlimit(RLIMIT_NPROC, &limit), 0);
    explode("a fork bomb", 0);
    explode("a thread bomb", 1);
    explode("a fork bomb again", 0);
    return guest_end();
}
