/* Threads that call whatever seccomp, Syscall User Dispatch and listeners have, with arguments that make little sense.
 * Many of their processes die of it; what matters is that nobody else does, and that nothing is left.
 * guest-flags: -pthread
 * guest-options: --time virtual */
#include "sigsys.h"
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/time.h>

enum { PROCESSES = 16, THREADS = 4, STEPS = 120, FDS = 30 };

static char *page, *read_only;
static volatile unsigned char selector;
static __thread unsigned long state;

static unsigned long any(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static unsigned below(unsigned limit)
{
    return any() % limit;
}

/* A number that may mean something, a pointer good or bad, or any 64 bits. */
static unsigned long word(void)
{
    const unsigned long words[] = {
        0, 1, 2, 3, 4, 8, 77, 4095, 4096, 65535, -1UL, -2UL, 1UL << 31, 1UL << 32, 1UL << 47, 1UL << 63,
        (unsigned long)page, (unsigned long)page + PAGE - 6, (unsigned long)read_only, (unsigned long)read_only + 1,
    };
    return below(8) ? words[below(sizeof words / sizeof *words)] : any();
}

static int any_fd(void)
{
    return below(3) ? 3 + (int)below(FDS) : (int)word();
}

static int any_call(void)
{
    static const int numbers[] = { SYS_getppid, SYS_getpgid, SYS_getsid, SYS_getuid, SYS_getgid, SYS_sched_yield, SYS_dup };
    return numbers[below(sizeof numbers / sizeof *numbers)];
}

static void install_something(void)
{
    static const unsigned verdicts[] = {
        SECCOMP_RET_ALLOW, SECCOMP_RET_LOG, SECCOMP_RET_TRACE, SECCOMP_RET_ERRNO | EIO, SECCOMP_RET_ERRNO | 512,
        SECCOMP_RET_TRAP, SECCOMP_RET_USER_NOTIF, SECCOMP_RET_USER_NOTIF, SECCOMP_RET_KILL_THREAD,
        SECCOMP_RET_KILL_PROCESS, 0x12345678,
    };
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, below(20) ? 0 : below(30) * 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, any_call(), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, verdicts[below(below(30) ? 8 : 11)]),
        BPF_STMT(BPF_RET | (below(40) ? BPF_K : BPF_A), SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { below(30) ? 4 : below(9), below(40) ? code : (void *)word() };
    unsigned flags = below(6) ? (below(2) ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0) | (any() & 0x33) : any();
    syscall(SYS_seccomp, below(20) ? SECCOMP_SET_MODE_FILTER : word(), flags, &program);
}

static void answer_something(int fd, unsigned long id)
{
    struct seccomp_notif_resp response = { id, below(2) ? word() : 0, below(2) ? (int)word() : 0, below(3) };
    struct seccomp_notif_addfd add = { id, below(4), any_fd(), below(2) ? 0 : word(), below(2) ? O_CLOEXEC : 0 };
    if (!below(6))
        close(fd);
    else if (below(3))
        ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &response);
    else
        ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
}

static void listen_to_something(void)
{
    static const unsigned long requests[] = {
        SECCOMP_IOCTL_NOTIF_SEND, SECCOMP_IOCTL_NOTIF_ID_VALID, SECCOMP_IOCTL_NOTIF_ADDFD, SECCOMP_IOW(4, __u64),
    };
    struct seccomp_notif request = { 0 };
    struct pollfd entry = { any_fd(), POLLIN | POLLOUT, 0 };
    poll(&entry, 1, below(3));
    if (!(entry.revents & (POLLIN | POLLHUP)))
        ioctl(entry.fd, below(4) ? requests[below(4)] : word(), word());
    else if (!ioctl(entry.fd, SECCOMP_IOCTL_NOTIF_RECV, below(30) ? &request : (void *)word()))
        answer_something(entry.fd, request.id);
}

static void dispatch_something(void)
{
    prctl(below(4) ? 59 : PR_SET_SECCOMP, below(2) ? below(4) : word(), word(), word(),
          below(2) ? (unsigned long)&selector : word());
    selector = below(6) ? below(2) : any();
    syscall(SYS_getppid);
    selector = 0;
    prctl(59, 0, 0, 0, 0);
}

static void fork_something(void)
{
    pid_t pid = below(3) ? fork() : vfork();
    if (!pid) {
        alarm(1);       /* it may ask for ever */
        syscall(any_call(), 0);
        _exit(0);
    }
}

static void *steps(void *first_state)
{
    state = (unsigned long)first_state;
    for (int i = 0; i < STEPS; i++)
        switch (below(16)) {
        case 0: install_something(); break;
        case 1: dispatch_something(); break;
        case 2: if (!below(6)) fork_something(); break;
        case 3: dup(any_fd()); break;
        case 4: close(3 + below(FDS)); break;
        case 5: kill(getpid(), below(2) ? SIGUSR1 : SIGCHLD); break;
        case 6: waitpid(-1, NULL, WNOHANG); break;
        case 7: memcpy(page + below(500) * 8, (unsigned long[]){ word() }, 8); break;
        case 8: case 9: case 10: syscall(any_call(), word()); break;
        default: listen_to_something();
        }
    return NULL;
}

static void on_any(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info, (void)context;
    selector = 0;
}

static void process(unsigned long number)
{
    struct sigaction act = { .sa_flags = SA_SIGINFO | SA_NODEFER | (number & 1 ? SA_RESTART : 0) };
    struct itimerval limit = { { 0, 0 }, { 0, 300000 } };
    pthread_t threads[THREADS];
    act.sa_sigaction = on_any;
    sigaction(SIGSYS, &act, NULL);
    sigaction(SIGUSR1, &act, NULL);
    setitimer(ITIMER_REAL, &limit, NULL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    for (unsigned long i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, steps, (void *)(number * 7919 + i * 104729 + 1));
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    guest_start();
    page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(page + PAGE, PAGE);
    read_only = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < PROCESSES; i++) {
        pid_t pid = fork();
        if (!pid) {
            process(i);
            _exit(0);
        }
        waitpid(pid, NULL, 0);
    }
    return guest_end();
}
