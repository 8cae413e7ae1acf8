/* What each action does to the call and to the task, from the mildest to the hardest.
 * man 2 seccomp, kernel/seccomp.c:__seccomp_filter()
 * guest-flags: -pthread */
#include "sigsys.h"
#include <pthread.h>
#include <sys/resource.h>

static int answers(unsigned verdict)
{
    if (install_filter(SYS_getppid, verdict, 0))
        return 99;
    errno = 0;
    long result = syscall(SYS_getppid);
    printf("%#x: ", verdict);
    if (result == -1)
        printf("%s\n", errno_name(errno));
    else
        printf("%s\n", result == 0 ? "0" : "the call was made");
    return 0;
}

static int allow(void) { return answers(SECCOMP_RET_ALLOW | 7); }
static int logged(void) { return answers(SECCOMP_RET_LOG | 7); }
static int untraced(void) { return answers(SECCOMP_RET_TRACE | 7); }
static int no_error(void) { return answers(SECCOMP_RET_ERRNO); }
static int eio(void) { return answers(SECCOMP_RET_ERRNO | EIO); }
static int largest(void) { return answers(SECCOMP_RET_ERRNO | 4095); }
static int too_large(void) { return answers(SECCOMP_RET_ERRNO | 4096); }
static int all_bits(void) { return answers(SECCOMP_RET_ERRNO | 0xffff); }
static int nobody_listens(void) { return answers(SECCOMP_RET_USER_NOTIF); }
static int kill_process(void) { return answers(SECCOMP_RET_KILL_PROCESS | 3); }
static int kill_only_thread(void) { return answers(SECCOMP_RET_KILL_THREAD | 3); }
static int unknown_action(void) { return answers(0x00010000); }
static int unknown_high(void) { return answers(0x7ffe0000); }

static int kill_handled(void)
{
    catch_sigsys(0);
    return kill_process();
}

static int kill_ignored(void)
{
    signal(SIGSYS, SIG_IGN);
    return kill_process();
}

static int error_of_no_call(void)
{
    install_filter(-1, SECCOMP_RET_ERRNO | EIO, 0);
    FAILS(raw_call(-1, 0, 0, 0, 0, 0, 0) == -EIO ? (errno = EIO, -1) : 0, EIO);
    install_filter(12345, SECCOMP_RET_ERRNO | ENOENT, 0);
    FAILS(syscall(12345), ENOENT);
    FAILS(syscall(12346), ENOSYS);
    return 0;
}

/* An error has no effect: nothing is written. */
static int no_effect(void)
{
    install_filter(SYS_write, SECCOMP_RET_ERRNO | EIO, 0);
    int result = write(1, "seen\n", 5);
    return result == -1 && errno == EIO ? 0 : 1;
}

static pthread_barrier_t together;

static volatile int thread_tid;

static void *dies(void *unused)
{
    (void)unused;
    thread_tid = syscall(SYS_gettid);
    install_filter(SYS_getppid, SECCOMP_RET_KILL_THREAD, 0);
    syscall(SYS_getppid);
    puts("not reached");
    return NULL;
}

static int kill_one_of_two(void)
{
    pthread_t id;
    pthread_create(&id, NULL, dies, NULL);
    while (!thread_tid || !syscall(SYS_tgkill, getpid(), thread_tid, 0))
        sched_yield();      /* the C library can't join a thread that is killed */
    return 5;
}

static void *outlives(void *unused)
{
    (void)unused;
    pthread_barrier_wait(&together);
    for (;;) {
        char state = 0, line[256];
        int fd = open("/proc/self/stat", O_RDONLY);
        ssize_t got = read(fd, line, sizeof line - 1);
        close(fd);
        line[got > 0 ? got : 0] = 0;
        char *end = strrchr(line, ')');
        if (end)
            state = end[2];
        if (state == 'Z')
            break;
        sched_yield();
    }
    syscall(SYS_exit, 3);
    return NULL;
}

static int kill_the_leader(void)
{
    pthread_t id;
    pthread_barrier_init(&together, NULL, 2);
    pthread_create(&id, NULL, outlives, NULL);
    pthread_barrier_wait(&together);
    dies(NULL);
    return 6;
}

static void *sleeps(void *unused)
{
    (void)unused;
    pthread_barrier_wait(&together);
    pause();
    return NULL;
}

static int kill_both(void)
{
    pthread_t id;
    pthread_barrier_init(&together, NULL, 2);
    pthread_create(&id, NULL, sleeps, NULL);
    pthread_barrier_wait(&together);
    return kill_process();
}

/* Filters that disagree: the hardest action wins, and of equal ones the newest. */
static int hardest(void)
{
    install_filter(SYS_getppid, SECCOMP_RET_ERRNO | 1, 0);
    install_filter(SYS_getppid, SECCOMP_RET_TRACE | 2, 0);
    install_filter(SYS_getppid, SECCOMP_RET_LOG, 0);
    FAILS(syscall(SYS_getppid), 1);
    install_filter(SYS_getppid, SECCOMP_RET_ERRNO | 2, 0);
    FAILS(syscall(SYS_getppid), 2);
    catch_sigsys(0);
    handler_result = 8;
    install_filter(SYS_getppid, SECCOMP_RET_TRAP, 0);
    WANT(syscall(SYS_getppid), 8);
    install_filter(SYS_getppid, SECCOMP_RET_KILL_THREAD, 0);
    fflush(stdout);
    syscall(SYS_getppid);
    return 1;
}

/* What the kernel itself knows as restart codes are errors like others as long as no signal comes. */
static int restart_codes(void)
{
    alarm(10);
    for (int code = 512; code <= 517; code++) {
        install_filter(SYS_getppid, SECCOMP_RET_ERRNO | code, 0);
        FAILS(syscall(SYS_getppid), code);
    }
    return 0;
}

static void *reads(void *fd)
{
    char byte = 0;
    errno = 0;
    long result = read((int)(long)fd, &byte, 1);
    return (void *)(result == -1 ? (long)-errno : result);
}

static void nothing(int signal)
{
    (void)signal;
}

static void wait_until_it_sleeps(int pid, int tid)
{
    char path[64], line[256];
    char *end;
    do {
        sched_yield();
        snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, tid);
        int fd = open(path, O_RDONLY);
        ssize_t got = read(fd, line, sizeof line - 1);
        close(fd);
        line[got > 0 ? got : 0] = 0;
        end = strrchr(line, ')');
    } while (!end || end[2] != 'S');
}

static void *reads_after_telling(void *fd)
{
    thread_tid = syscall(SYS_gettid);
    return reads(fd);
}

/* A call that sleeps was filtered when it was made. One that a signal interrupts is made again, and filtered again. */
static int later_filter(int interrupt)
{
    int ends[2];
    pthread_t id;
    void *result;
    struct sigaction act = { .sa_flags = SA_RESTART };
    act.sa_handler = nothing;
    sigaction(SIGUSR1, &act, NULL);
    pipe(ends);
    pthread_create(&id, NULL, reads_after_telling, (void *)(long)ends[0]);
    while (!thread_tid)
        sched_yield();
    wait_until_it_sleeps(getpid(), thread_tid);
    install_filter(SYS_read, SECCOMP_RET_ERRNO | EIO, SECCOMP_FILTER_FLAG_TSYNC);
    if (interrupt)
        syscall(SYS_tgkill, getpid(), thread_tid, SIGUSR1);
    else
        write(ends[1], "x", 1);
    pthread_join(id, &result);
    WANT((long)result, interrupt ? -EIO : 1);
    return 0;
}

static int filter_while_it_sleeps(void) { return later_filter(0); }
static int filter_while_it_is_interrupted(void) { return later_filter(1); }

/* restart_syscall is a call of its own to a filter. */
static int restarted_sleep(void)
{
    int ends[2], status;
    char byte;
    pipe(ends);
    pid_t sleeper = fork();
    if (!sleeper) {
        struct timespec ms = { 0, 100000000 };
        install_filter(RESTART_SYSCALL, SECCOMP_RET_ERRNO | EIO, 0);
        write(ends[1], "x", 1);
        errno = 0;
        syscall(SYS_nanosleep, &ms, NULL);
        _exit(errno == EIO ? 0 : 1);
    }
    read(ends[0], &byte, 1);
    wait_until_it_sleeps(sleeper, sleeper);
    kill(sleeper, SIGSTOP);
    waitpid(sleeper, &status, WUNTRACED);
    kill(sleeper, SIGCONT);
    waitpid(sleeper, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

int main(void)
{
    struct rlimit none = { 0, 0 };
    guest_start();
    setrlimit(RLIMIT_CORE, &none);
    CHILD(allow, exited, 0);
    CHILD(logged, exited, 0);
    CHILD(untraced, exited, 0);
    CHILD(no_error, exited, 0);
    CHILD(eio, exited, 0);
    CHILD(largest, exited, 0);
    CHILD(too_large, exited, 0);
    CHILD(all_bits, exited, 0);
    CHILD(nobody_listens, exited, 0);
    CHILD(kill_process, killed, SIGSYS);
    CHILD(kill_only_thread, killed, SIGSYS);
    CHILD(unknown_action, killed, SIGSYS);
    CHILD(unknown_high, killed, SIGSYS);
    CHILD(kill_handled, killed, SIGSYS);
    CHILD(kill_ignored, killed, SIGSYS);
    CHILD(error_of_no_call, exited, 0);
    CHILD(no_effect, exited, 0);
    CHILD(kill_one_of_two, exited, 5);
    CHILD(kill_the_leader, exited, 3);
    CHILD(kill_both, killed, SIGSYS);
    CHILD(hardest, killed, SIGSYS);
    CHILD(restart_codes, exited, 0);
    CHILD(filter_while_it_sleeps, exited, 0);
    CHILD(filter_while_it_is_interrupted, exited, 0);
    CHILD(restarted_sleep, exited, 0);
    return guest_end();
}
