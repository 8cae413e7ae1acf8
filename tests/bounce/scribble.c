/* A program that writes nonsense over its own pages of variables, and looks in /proc and at what becomes of it for what
 * the kernel believes. It says what it finds; 0 where all is well. BLOCKED, PENDING: where [vtask] has these words. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int bad;
#define CHECK(what) do { if (!(what)) { bad++; printf("FAIL line %d: %s\n", __LINE__, #what); } } while (0)

static char *page(const char *name)
{
    char line[256], *found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps))
        if (strstr(line, name))
            found = (char *)strtoul(line, 0, 16);
    fclose(maps);
    return found;
}

static int umask_in_status(void)
{
    char line[256];
    int mask = -1;
    FILE *status = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, status))
        sscanf(line, "Umask: %o", &mask);
    fclose(status);
    return mask;
}

static int mode_of_new_file(const char *name)
{
    struct stat st;
    int fd = open(name, O_CREAT | O_RDWR | O_TRUNC, 0777);
    CHECK(fd >= 0 && !fstat(fd, &st));
    close(fd);
    unlink(name);
    return st.st_mode & 07777;
}

/* What the kernel says of the calling thread's mask. */
static uint64_t mask_in_status(void)
{
    char line[256];
    unsigned long mask = 0;
    FILE *status = fopen("/proc/thread-self/status", "r");
    while (fgets(line, sizeof line, status))
        sscanf(line, "SigBlk: %lx", &mask);
    fclose(status);
    return mask;
}

/* Has the kernel give the caller its pages. */
static void many_calls(void)
{
    for (int i = 0; i < 100; i++) {
        syscall(SYS_personality, 0xffffffffL);
        syscall(SYS_umask, umask_in_status());
    }
}

#define BIT(signal) (1UL << ((signal) - 1))
#define UNBLOCKABLE (BIT(SIGKILL) | BIT(SIGSTOP))
static volatile int runs;
static volatile uint64_t *blocked, *pending;

static void on_signal(int signal)
{
    (void)signal;
    runs++;
}

static long change_mask(int how, uint64_t set, uint64_t *old)
{
    return syscall(SYS_rt_sigprocmask, how, &set, old, 8L);
}

static void *scribbler(void *unused)
{
    uint64_t random = 88172645463325252UL;
    for (;;) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        *blocked = random;
        *pending = random * 3;
    }
    return unused;
}

/* A child with a page of its own does what `how` says to it, and ends with that wait status. */
static int becomes(int how)
{
    int status;
    pid_t pid = fork();
    if (pid) {
        if (how == 'k' || how == 'r') {
            nanosleep(&(struct timespec) { 0, 20000000 }, 0);
            kill(pid, SIGKILL);
        } else if (how == 's') {
            nanosleep(&(struct timespec) { 0, 20000000 }, 0);
            kill(pid, SIGSTOP);
            waitpid(pid, &status, WUNTRACED);
            kill(pid, SIGKILL);
            int killed;
            waitpid(pid, &killed, 0);
            return status;
        }
        waitpid(pid, &status, 0);
        return status;
    }
    runs = 0;
    many_calls();
    char *task = page("[vtask]");
    blocked = (void *)(task + BLOCKED), pending = (void *)(task + PENDING);
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
    sigaction(SIGSEGV, &action, 0);
    sigaction(SIGUSR1, &action, 0);
    pthread_t thread;
    stack_t on_page = { .ss_sp = task, .ss_size = 4096 };
    switch (how) {
    case 'k': case 's': /* asleep, and all that can be said is that all is blocked */
        *blocked = -1UL;
        for (;;)
            syscall(SYS_ppoll, 0L, 0L, 0L, 0L, 8L);
    case 'f': /* a fault whose signal the page says is blocked: the handler does not run */
        *blocked = BIT(SIGSEGV);
        *(volatile int *)0 = 0;
        break;
    case 'r': /* at random, while the mask is changed and signals come */
        pthread_create(&thread, 0, scribbler, 0);
        for (int i = 0;; i++) {
            uint64_t old;
            change_mask(i % 3, BIT(SIGUSR1) << i % 5, &old);
            raise(SIGUSR1);
        }
    case 'a': /* a signal's frame over the words themselves, if it fits */
        sigaltstack(&on_page, 0);
        raise(SIGUSR1);
        change_mask(SIG_SETMASK, 0, 0);
        syscall(SYS_personality, 0xffffffffL);
        break;
    case 'o': /* the words as arguments of the call that is about them */
        for (int i = 0; i < 3; i++) {
            syscall(SYS_rt_sigprocmask, i, blocked, pending, 8L);
            syscall(SYS_rt_sigprocmask, i, pending, blocked, 8L);
            syscall(SYS_rt_sigprocmask, i, blocked, task + 4092, 8L);
        }
        break;
    }
    _exit(runs);
}

static void scribble_over_the_mask(char *task)
{
    blocked = (void *)(task + BLOCKED), pending = (void *)(task + PENDING);
    uint64_t old = 1;
    CHECK(!change_mask(SIG_SETMASK, BIT(SIGUSR2), 0) && *blocked == BIT(SIGUSR2));
    *blocked = -1UL;
    CHECK(mask_in_status() == ~UNBLOCKABLE);
    CHECK(!change_mask(SIG_UNBLOCK, BIT(SIGHUP), &old) && old == ~UNBLOCKABLE);
    CHECK(mask_in_status() == (~UNBLOCKABLE & ~BIT(SIGHUP)));
    if (!fork())
        _exit(mask_in_status() != (~UNBLOCKABLE & ~BIT(SIGHUP)));
    int status;
    wait(&status);
    CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
    CHECK(!change_mask(SIG_SETMASK, 0, 0) && *blocked == 0);

    /* a signal that is pending, and denied: it comes when the kernel looks, and is not lost */
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGUSR1, &action, 0);
    change_mask(SIG_BLOCK, BIT(SIGUSR1), 0);
    raise(SIGUSR1);
    CHECK(*pending == BIT(SIGUSR1) && runs == 0);
    *pending = 0;
    change_mask(SIG_UNBLOCK, BIT(SIGUSR1), 0);
    CHECK(nanosleep(&(struct timespec) { 1, 0 }, 0) == -1 && errno == EINTR);
    CHECK(runs == 1);
    /* and none that is said to be */
    *pending = -1UL;
    CHECK(!change_mask(SIG_SETMASK, BIT(SIGUSR2), &old) && old == 0);
    CHECK(*pending == 0 && mask_in_status() == BIT(SIGUSR2)); /* the call was made, and the kernel has looked */
    CHECK(!change_mask(SIG_SETMASK, 0, 0));

    CHECK(becomes('k') == SIGKILL && becomes('r') == SIGKILL);
    CHECK(WIFSTOPPED(becomes('s')));
    CHECK(becomes('f') == SIGSEGV);
    CHECK(becomes('o') == 0);
    status = becomes('a');
    CHECK(status == SIGSEGV || status == 1 << 8);
    CHECK(mask_in_status() == 0);
}

int main(void)
{
    char *task = page("[vtask]"), *fs = page("[vfs]");
    CHECK(task && fs);
    scribble_over_the_mask(task);

    /* umask: nine bits count, for files and for whoever is told */
    memset(fs, 0xff, 4096);
    CHECK(mode_of_new_file("scribbled") == 0);
    CHECK(umask_in_status() == 0777);
    syscall(SYS_umask, 027);
    CHECK(mode_of_new_file("scribbled") == 0750);
    CHECK(umask_in_status() == 027);

    /* personality: any value that the call takes; the pages of a child are its own */
    syscall(SYS_personality, 0L);
    syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGURG, 0, 0, 0);
    syscall(SYS_prctl, PR_SET_TIMERSLACK, 12345L, 0, 0, 0);
    uint64_t first;
    memcpy(&first, task, 8);
    memset(task + 8, 0xff, 4088);
    CHECK(mask_in_status() == ~UNBLOCKABLE);
    struct utsname name;
    CHECK(!uname(&name));
    CHECK(!strncmp(name.release, "2.6.", 4)); /* UNAME26 is among the bits: no more than personality(2) gives */
    if (!fork()) {
        int signal = -1;
        CHECK(!prctl(PR_GET_PDEATHSIG, &signal) && signal == 0);
        CHECK(prctl(PR_GET_TIMERSLACK) == 50000); /* the last good value that the kernel had looked at */
        CHECK(!page("[vtask]") && !page("[vfs]"));
        many_calls();
        CHECK(page("[vtask]") && page("[vfs]"));
        syscall(SYS_umask, 0);
        _exit(bad);
    }
    int status;
    wait(&status);
    CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
    CHECK(umask_in_status() == 027);

    /* the address of [vfs]: the program's own calls go astray, and become the kernel's */
    uint64_t nowhere = 0xdead000;
    memcpy(task, &nowhere, 8);
    CHECK(syscall(SYS_umask, 022) == 027);
    CHECK(umask_in_status() == 022);
    memcpy(task, &first, 8);
    CHECK(syscall(SYS_umask, 027) == 022);

    /* pages that are not what they were: the kernel has the variables, and serves */
    syscall(SYS_personality, 0L);
    CHECK(!mprotect(task, 4096, PROT_READ));
    CHECK(syscall(SYS_personality, (long)UNAME26) == 0);
    CHECK(!munmap(task, 4096) && !munmap(fs, 4096));
    CHECK(syscall(SYS_personality, 0xffffffffL) == UNAME26);
    CHECK(syscall(SYS_umask, 01022) == 027);
    CHECK(umask_in_status() == 022);
    void *again = mmap(task, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(again == task);
    CHECK(umask_in_status() == 022);
    if (!fork())
        _exit(syscall(SYS_umask, 0) != 022);
    wait(&status);
    CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
    puts(bad ? "not well" : "well");
    return bad != 0;
}
