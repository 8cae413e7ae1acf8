/* A new program in an old process: descriptors, dispositions, masks, other threads, vfork's borrowed stack.
 * man 2 execve, man 2 vfork, man 2 fcntl */
#include "guest.h"
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <sys/prctl.h>

static char *self = "/proc/self/exe";
static int status;

/* What this program does when it is called with a word. */
static int called(int count, char **words)
{
    if (!strcmp(words[1], "exit"))
        return atoi(words[2]);
    if (!strcmp(words[1], "descriptors")) {
        printf("kept %d closed %d\n", fcntl(atoi(words[2]), F_GETFD), fcntl(atoi(words[3]), F_GETFD));
        printf("read %zd\n", read(atoi(words[2]), words[3], 1));
    }
    if (!strcmp(words[1], "signals")) {
        struct sigaction one, two;
        sigset_t blocked, pending;
        stack_t stack;
        sigaction(SIGUSR1, NULL, &one);
        sigaction(SIGUSR2, NULL, &two);
        sigprocmask(SIG_SETMASK, NULL, &blocked);
        sigpending(&pending);
        sigaltstack(NULL, &stack);
        printf("caught: %s, ignored: %s\n", one.sa_handler == SIG_DFL ? "default" : "kept",
               two.sa_handler == SIG_IGN ? "kept" : "default");
        printf("mask %d pending %d alternate stack %d\n", sigismember(&blocked, SIGTERM), sigismember(&pending, SIGTERM),
               !(stack.ss_flags & SS_DISABLE));
    }
    if (!strcmp(words[1], "threads")) {
        printf("pid kept: %d, tid is pid: %d, parent kept: %d\n", getpid() == atoi(words[2]),
               syscall(SYS_gettid) == getpid(), getppid() == atoi(words[3]));
        char name[16];
        prctl(PR_GET_NAME, name);
        printf("name differs: %d\n", strcmp(name, "old name") != 0);
        int entries = 0;
        char path[64];
        for (int tid = getpid(); tid < getpid() + 12; tid++) {
            snprintf(path, sizeof path, "/proc/self/task/%d", tid);
            entries += access(path, F_OK) == 0;
        }
        printf("threads: %d\n", entries);
    }
    fflush(stdout);
    return count;
}

static int run(char *one, char *two, char *three)
{
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        execl(self, "guest", one, two, three, NULL);
        _exit(98);
    }
    if (waitpid(child, &status, 0) != child)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void descriptors(void)
{
    char kept[8], closed[8];
    int pair[2], other[2];
    pipe(pair);
    pipe2(other, O_CLOEXEC);
    write(pair[1], "abc", 3);
    int copy = dup(other[0]);                                   /* the flag is the descriptor's, not the file's */
    snprintf(kept, sizeof kept, "%d", pair[0]);
    snprintf(closed, sizeof closed, "%d", other[0]);
    WANT(run("descriptors", kept, closed), 4);
    WANT(fcntl(other[0], F_GETFD), FD_CLOEXEC);
    WANT(fcntl(copy, F_GETFD), 0);
    snprintf(kept, sizeof kept, "%d", copy);
    WANT(fcntl(copy, F_SETFL, O_NONBLOCK), 0);
    WANT(run("descriptors", kept, closed), 4);
    /* a write end marked so gives its reader the end when its process becomes another program */
    char byte;
    int ends[2];
    pipe2(ends, O_CLOEXEC);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        execl(self, "guest", "exit", "3", NULL);
        write(ends[1], "x", 1);
        _exit(97);
    }
    close(ends[1]);
    WANT(read(ends[0], &byte, 1), 0);
    WANT(waitpid(child, &status, 0) == child, 1);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    for (int fd = 3; fd < 12; fd++)
        close(fd);
}

static void handler(int signal)
{
    (void)signal;
}

static void signals(void)
{
    static char memory[65536];
    stack_t stack = { .ss_sp = memory, .ss_size = sizeof memory };
    sigset_t set;
    signal(SIGUSR1, handler);
    signal(SIGUSR2, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        sigaltstack(&stack, NULL);
        sigprocmask(SIG_BLOCK, &set, NULL);
        raise(SIGTERM);
        execl(self, "guest", "signals", NULL);
        _exit(98);
    }
    WANT(waitpid(child, &status, 0) == child, 1);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 2);
    signal(SIGUSR1, SIG_DFL);
    signal(SIGUSR2, SIG_DFL);
}

static void *sleeps(void *arg)
{
    (void)arg;
    for (;;)
        pause();
}

static void *spins(void *arg)
{
    for (volatile long *counter = arg;; ++*counter)
        ;
}

static void *becomes_another(void *arg)
{
    char **words = arg;
    execv(self, words);
    return NULL;
}

/* One thread of several calls execve: the others are gone, and it has the process's number. */
static void from_a_thread(int leader)
{
    char pid[16], parent[16];
    char *words[] = { "guest", "threads", pid, parent, NULL };
    static long counter;
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        pthread_t thread;
        snprintf(pid, sizeof pid, "%d", getpid());
        snprintf(parent, sizeof parent, "%d", getppid());
        prctl(PR_SET_NAME, "old name");
        for (int i = 0; i < 3; i++)
            pthread_create(&thread, NULL, sleeps, NULL);
        pthread_create(&thread, NULL, spins, &counter);
        usleep(2000);
        if (leader)
            becomes_another(words);
        pthread_create(&thread, NULL, becomes_another, words);
        pthread_join(thread, NULL);
        _exit(96);
    }
    WANT(waitpid(child, &status, 0) == child, 1);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 4);
    FAILS(waitpid(-1, &status, 0), ECHILD);
}

static volatile int told;

static __attribute__((noinline)) void scribble(int depth)
{
    volatile char noise[512];
    memset((void *)noise, 0x5a, sizeof noise);
    if (depth)
        scribble(depth - 1);
}

/* The child uses its parent's memory and stack while the parent sleeps. */
static __attribute__((noinline)) void borrowed(int code)
{
    volatile long kept = 0x1234567, before = told;
    pid_t child = vfork();
    if (!child) {
        told++;
        scribble(10);
        if (code < 0) {
            execl(self, "guest", "exit", "9", NULL);
            _exit(98);
        }
        _exit(code);
    }
    CHECK(kept == 0x1234567);
    WANT(told - before, 1);
    WANT(waitpid(child, &status, 0) == child, 1);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == (code < 0 ? 9 : code));
}

static void after_vfork(void)
{
    borrowed(5);
    borrowed(-1);
    /* an execve that fails leaves the child where it was */
    pid_t child = vfork();
    if (!child) {
        char *none[] = { NULL };
        execve("/nowhere/to/be/found", none, none);
        told = errno;
        _exit(7);
    }
    WANT(told, ENOENT);
    WANT(waitpid(child, &status, 0) == child, 1);
    /* killed before it did either */
    child = vfork();
    if (!child) {
        kill(getpid(), SIGKILL);
        _exit(1);
    }
    WANT(waitpid(child, &status, 0) == child, 1);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void again_and_again(void)
{
    int sum = 0;
    for (int i = 0; i < 20; i++) {
        char code[8];
        snprintf(code, sizeof code, "%d", i);
        sum += run("exit", code, NULL);
    }
    WANT(sum, 190);
}

int main(int count, char **words)
{
    if (count > 1)
        return called(count, words);
    guest_start();
    descriptors();
    signals();
    from_a_thread(0);
    from_a_thread(1);
    after_vfork();
    again_and_again();
    return guest_end();
}
