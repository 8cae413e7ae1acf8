/* Numbers of tasks that programs put into words, structures and other arguments are those of their own pid namespace:
 * locks with owners, robust lists, timers, clocks, scheduling, limits, filters' listeners, what clone writes. */
#include "guest.h"
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

static pid_t gettid_(void) { return syscall(SYS_gettid); }
static pid_t getpid_(void) { return syscall(SYS_getpid); }

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
        return -1000;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static uint32_t *word;

static long futex(int op, uint32_t value) { return syscall(SYS_futex, word, op, (long)value, 0L, 0L, 0L); }

static void locks(void)
{
    puts("-- locks");
    int go[2];
    char byte;
    WANT(pipe(go), 0);
    *word = 0;
    WANT(futex(FUTEX_LOCK_PI, 0), 0);
    WANT(*word, 1);
    FAILS(futex(FUTEX_LOCK_PI, 0), EDEADLK);
    pid_t child = spawn(0);
    if (!child) {
        write(go[1], "x", 1);
        if (futex(FUTEX_LOCK_PI, 0))
            _exit(1);
        uint32_t mine = *word & FUTEX_TID_MASK;
        if (futex(FUTEX_UNLOCK_PI, 0))
            _exit(2);
        _exit(mine == 2 ? 0 : 3);
    }
    read(go[0], &byte, 1);
    while (!(*(volatile uint32_t *)word & FUTEX_WAITERS))
        sched_yield();
    CHECK(*word == (1 | FUTEX_WAITERS));
    WANT(futex(FUTEX_UNLOCK_PI, 0), 0);
    WANT(reap(child), 0);
    WANT(*word, 0);
    *word = 99; /* nobody's number here */
    FAILS(futex(FUTEX_LOCK_PI, 0), ESRCH);
    *word = 0;
    child = spawn(0); /* an owner that dies */
    if (!child) {
        static struct robust_list_head head = { { &head.list }, 0, NULL };
        head.futex_offset = 0;
        head.list_op_pending = (struct robust_list *)word;
        *word = gettid_();
        if (syscall(SYS_set_robust_list, &head, sizeof head))
            _exit(1);
        _exit(0);
    }
    WANT(reap(child), 0);
    CHECK(*word == FUTEX_OWNER_DIED);
}

static volatile int timer_came, thread_id;

static void *timed(void *unused)
{
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    thread_id = gettid_();
    timer_came = sigwaitinfo(&set, &info);
    return unused;
}

static void timers_and_clocks(void)
{
    puts("-- timers and clocks");
    sigset_t set;
    pthread_t thread;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    WANT(pthread_create(&thread, NULL, timed, NULL), 0);
    while (!thread_id)
        sched_yield();
    WANT(thread_id, 4);
    struct { union sigval value; int signo, notify, tid; int pad[11]; } event =
        { .signo = SIGUSR1, .notify = SIGEV_SIGNAL | 4, .tid = 4 };
    int timer;
    WANT(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer), 0);
    struct itimerspec soon = { .it_value = { 0, 1 } };
    WANT(syscall(SYS_timer_settime, timer, 0, &soon, NULL), 0);
    WANT(pthread_join(thread, NULL), 0);
    WANT(timer_came, SIGUSR1);
    event.tid = 99;
    FAILS(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer), EINVAL);
    struct timespec at;
    clockid_t of_init = -2 * 8 + 2, of_nobody = -100 * 8 + 2; /* ~pid << 3 | CPUCLOCK_SCHED */
    WANT(syscall(SYS_clock_gettime, of_init, &at), 0);
    FAILS(syscall(SYS_clock_gettime, of_nobody, &at), EINVAL);
}

static void by_number(void)
{
    puts("-- by number");
    int hold[2];
    char byte;
    WANT(pipe(hold), 0);
    pid_t child = spawn(0);
    if (!child) {
        close(hold[1]);
        read(hold[0], &byte, 1);
        _exit(0);
    }
    WANT(child, 5);
    struct sched_param param = { 0 };
    struct rlimit limit;
    void *list;
    size_t size;
    unsigned long mask;
    WANT(syscall(SYS_sched_getscheduler, 5), 0);
    WANT(syscall(SYS_sched_setscheduler, 5, SCHED_BATCH, &param), 0);
    WANT(syscall(SYS_sched_getscheduler, 5), SCHED_BATCH);
    FAILS(syscall(SYS_sched_getscheduler, 99), ESRCH);
    CHECK(syscall(SYS_sched_getaffinity, 5, sizeof mask, &mask) > 0);
    WANT(setpriority(PRIO_PROCESS, 5, 7), 0);
    WANT(getpriority(PRIO_PROCESS, 5), 7);
    WANT(prlimit(5, RLIMIT_NOFILE, NULL, &limit), 0);
    FAILS(prlimit(99, RLIMIT_NOFILE, NULL, &limit), ESRCH);
    WANT(syscall(SYS_get_robust_list, 5, &list, &size), 0);
    FAILS(syscall(SYS_get_robust_list, 99, &list, &size), ESRCH);
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 5 };
    struct __user_cap_data_struct data[2];
    WANT(syscall(SYS_capget, &header, data), 0);
    header.pid = 1;
    WANT(syscall(SYS_capset, &header, data), 0);
    header.pid = 5;
    FAILS(syscall(SYS_capset, &header, data), EPERM);
    WANT(syscall(SYS_tgkill, 5, 5, 0), 0);
    FAILS(syscall(SYS_tgkill, 1, 5, 0), ESRCH);
    FAILS(syscall(SYS_tkill, 99, 0), ESRCH);
    siginfo_t info = { .si_code = SI_QUEUE, .si_pid = 12345 };
    WANT(syscall(SYS_rt_sigqueueinfo, 5, 0, &info), 0);
    WANT(setpgid(5, 5), 0);
    WANT(getpgid(5), 5);
    WANT(kill(-5, 0), 0);
    WANT(getpriority(PRIO_PGRP, 5), 7);
    FAILS(kill(-99, 0), ESRCH);
    int pidfd = syscall(SYS_pidfd_open, 5, 0);
    CHECK(pidfd >= 0);
    FAILS(syscall(SYS_pidfd_open, 99, 0), ESRCH);
    close(hold[1]);
    WANT(syscall(SYS_wait4, -5, NULL, 0, NULL), 5);
    FAILS(syscall(SYS_wait4, -5, NULL, 0, NULL), ECHILD);
    close(hold[0]);
}

static void written(void)
{
    puts("-- what clone writes");
    static pid_t parents, childs;
    uint64_t args[11] = { 0x01000000 | 0x00100000, 0, (uintptr_t)&childs, (uintptr_t)&parents, SIGCHLD };
    fflush(stdout);
    pid_t child = syscall(SYS_clone3, args, sizeof args, 0L, 0L, 0L, 0L);
    if (!child)
        _exit(childs == 6 && getpid_() == 6 ? 0 : 1);
    WANT(reap(child), 0);
    WANT(parents, 6);
    args[0] |= CLONE_NEWPID;
    child = syscall(SYS_clone3, args, sizeof args, 0L, 0L, 0L, 0L);
    if (!child)
        _exit(childs == 1 && syscall(SYS_set_tid_address, &childs) == 1 ? 0 : 1);
    WANT(reap(child), 0);
    WANT(parents, 7);
}

static int listener(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof code / sizeof *code, code };
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static void answer(int fd, pid_t who)
{
    struct seccomp_notif request = { 0 };
    WANT(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &request), 0);
    CHECK((pid_t)request.pid == who);
    struct seccomp_notif_resp response = { .id = request.id, .val = 77 };
    WANT(ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &response), 0);
}

/* Credentials that are sent are told in the receiver's numbers. */
static void told(int pair[2], pid_t named, pid_t expected)
{
    char byte = 'c', control[CMSG_SPACE(sizeof(struct ucred))] = { 0 };
    struct iovec io = { &byte, 1 };
    struct msghdr message = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    struct ucred cred = { named, 0, 0 };
    *header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof cred), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_CREDENTIALS };
    memcpy(CMSG_DATA(header), &cred, sizeof cred);
    int one = 1;
    setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one);
    WANT(sendmsg(pair[0], &message, 0), 1);
    message.msg_controllen = sizeof control;
    WANT(recvmsg(pair[1], &message, 0), 1);
    memcpy(&cred, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof cred);
    CHECK(cred.pid == expected);
}

static int inside(void)
{
    int pair[2];
    locks();
    timers_and_clocks();
    by_number();
    written();
    puts("-- credentials");
    WANT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    told(pair, 1, 1);
    struct ucred nobody = { 99, 0, 0 };
    char control[CMSG_SPACE(sizeof nobody)] = { 0 }, byte = 'c';
    struct iovec io = { &byte, 1 };
    struct msghdr message = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    *CMSG_FIRSTHDR(&message) =
        (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof nobody), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_CREDENTIALS };
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &nobody, sizeof nobody);
    FAILS(sendmsg(pair[0], &message, 0), ESRCH);
    puts("-- a listener");
    int fds[2];
    WANT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    pid_t child = spawn(CLONE_NEWPID | CLONE_FILES);
    if (!child) {
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        int fd = listener();
        write(fds[1], &fd, sizeof fd);
        _exit(syscall(SYS_getppid) == 77 ? 0 : 1);
    }
    int fd;
    WANT(read(fds[0], &fd, sizeof fd), 4);
    answer(fd, child);
    WANT(reap(child), 0);
    return guest_failures;
}

int main(void)
{
    guest_start();
    word = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = spawn(CLONE_NEWPID);
    if (!child)
        exit(inside());
    WANT(reap(child), 0);
    return guest_end();
}
