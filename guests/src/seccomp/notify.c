/* SECCOMP_RET_USER_NOTIF: a listener receives calls, answers them, adds descriptors; signals, ends, and bad requests.
 * man 2 seccomp_unotify, kernel/seccomp.c
 * guest-flags: -pthread
 * guest-options: --visible origin */
#include "sigsys.h"
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>

#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#define ID_VALID_OTHER SECCOMP_IOR(2, __u64)

static int listener;

static int listen_to(int number, unsigned flags)
{
    return listener = install_filter(number, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER | flags);
}

static struct seccomp_notif request;

static long receive(void)
{
    memset(&request, 0, sizeof request);
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request);
}

static long answer(long value, int error, unsigned flags)
{
    struct seccomp_notif_resp response = { request.id, value, error, flags };
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

static long valid(void)
{
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &request.id);
}

static int polled(int wait_for)
{
    struct pollfd entry = { listener, POLLIN | POLLOUT, 0 };
    poll(&entry, 1, wait_for ? 10000 : 0);
    return entry.revents;
}

/* A child that inherits the filter, not the listener; its exit status is the call's result less than 200. */
static pid_t target(long (*call)(void))
{
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        close(listener);
        errno = 0;
        long result = call();
        _exit(result == -1 ? 200 + (errno & 31) : result & 127);
    }
    return pid;
}

static int end_of(pid_t pid)
{
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static long asks(void)
{
    return raw_call(SYS_getppid, 1, 2, 3, 4, 5, -6) & 127;
}

static long asks_for_error(void)
{
    return syscall(SYS_getppid);
}

static int fields(void)
{
    struct seccomp_notif junk = { .pid = 1 };
    CHECK(listen_to(SYS_getppid, 0) >= 0);
    CHECK(fcntl(listener, F_GETFD) == FD_CLOEXEC);
    CHECK((fcntl(listener, F_GETFL) & ~O_LARGEFILE) == O_RDWR);
    char path[64], name[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", listener);
    ssize_t length = readlink(path, name, sizeof name);
    printf("%.*s\n", (int)length, name);
    FAILS(read(listener, name, 8), EINVAL);
    FAILS(write(listener, name, 8), EINVAL);
    WANT(polled(0), 0);
    FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &junk), EINVAL);
    FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, BAD), EFAULT);
    FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, BAD), EFAULT);
    FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, BAD), EFAULT);
    FAILS(ioctl(listener, _IO('!', 9), 0), EINVAL);
    FAILS(ioctl(listener, TIOCGWINSZ, &junk), EINVAL);
    WANT(ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP), 0);
    WANT(ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 0), 0);
    FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 2), EINVAL);
    request.id = 5;
    FAILS(valid(), ENOENT);
    FAILS(answer(0, 0, 0), ENOENT);

    pid_t pid = target(asks);
    WANT(polled(1), POLLIN);
    WANT(receive(), 0);
    WANT(polled(0), POLLOUT);
    CHECK(request.pid == (unsigned)pid && request.flags == 0);
    CHECK(request.data.nr == SYS_getppid && request.data.arch == MY_ARCH);
    CHECK(request.data.instruction_pointer == (unsigned long)raw_call_after);
    CHECK(request.data.args[0] == 1 && request.data.args[4] == 5 && (long)request.data.args[5] == -6);
    WANT(valid(), 0);
    WANT(ioctl(listener, ID_VALID_OTHER, &request.id), 0);
    FAILS(answer(0, 0, 2), EINVAL);
    FAILS(answer(1, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE), EINVAL);
    FAILS(answer(0, 1, SECCOMP_USER_NOTIF_FLAG_CONTINUE), EINVAL);
    WANT(answer(77, 0, 0), 0);
    WANT(end_of(pid), 77);
    FAILS(valid(), ENOENT);
    FAILS(answer(77, 0, 0), ENOENT);
    WANT(polled(0), 0);
    return 0;
}

static int several(void)
{
    listen_to(SYS_getppid, 0);
    pid_t first = target(asks_for_error);
    polled(1);
    receive();
    unsigned long id = request.id;
    pid_t second = target(asks_for_error);
    WANT(polled(1) & POLLOUT, POLLOUT);
    while (!(polled(0) & POLLIN))
        sched_yield();
    request.id = id + 1;
    FAILS(valid(), ENOENT);
    FAILS(answer(0, 0, 0), EINPROGRESS);
    WANT(receive(), 0);
    CHECK(request.id == id + 1 && request.pid == (unsigned)second);
    WANT(answer(0, -EPERM, 0), 0);
    WANT(end_of(second), 200 + EPERM);
    request.id = id;
    WANT(answer(1, -EIO, 0), 0);
    WANT(end_of(first), 200 + EIO);
    return 0;
}

static int continues(void)
{
    listen_to(SYS_getppid, 0);
    pid_t self = getpid(), pid = target(asks);
    WANT(receive(), 0);
    WANT(answer(0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE), 0);
    CHECK(end_of(pid) == (self & 127));
    return 0;
}

/* Calls that continue and then sleep, make a task, or replace the program, in a thread whose listener its process has. */
static volatile int thread_number, thread_listener;
static volatile long thread_result;
static int pipe_ends[2];

static void *filtered_thread(void *unused)
{
    char byte = 0;
    (void)unused;
    thread_listener = install_filter(thread_number, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    if (thread_number == SYS_read)
        thread_result = raw_call(SYS_read, pipe_ends[0], (long)&byte, 1, 0, 0, 0) * 1000 + byte;
    else if (thread_number == SYS_clone) {
        long pid = raw_call(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
        if (!pid)
            _exit(9);
        thread_result = pid;
    } else
        thread_result = raw_call(thread_number, 0, 0, 0, 0, 0, 0);
    return NULL;
}

static pthread_t start_thread(int number)
{
    pthread_t id;
    thread_number = number;
    thread_listener = -1;
    pthread_create(&id, NULL, filtered_thread, NULL);
    while (thread_listener < 0)
        sched_yield();
    listener = thread_listener;
    return id;
}

static int continues_to_sleep(void)
{
    pipe(pipe_ends);
    pthread_t id = start_thread(SYS_read);
    receive();
    answer(0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
    for (int i = 0; i < 20; i++)
        sched_yield();
    write(pipe_ends[1], "x", 1);
    pthread_join(id, NULL);
    WANT(thread_result, 1000 + 'x');
    return 0;
}

static int continues_to_fork(void)
{
    pthread_t id = start_thread(SYS_clone);
    receive();
    answer(0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
    pthread_join(id, NULL);
    WANT(end_of(thread_result), 9);
    return 0;
}

static int descriptors(void)
{
    struct { struct seccomp_notif_addfd known; long more; } add = { 0 };
    struct stat a, b;
    pthread_t id = start_thread(SYS_getppid);
    pipe(pipe_ends);
    FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, BAD), EFAULT);
    FAILS(ioctl(listener, SECCOMP_IOW(3, int), &add), EINVAL);
    add.known.srcfd = 1000;
    FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add), EBADF);
    add.known.srcfd = pipe_ends[0];
    FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add), ENOENT);
    polled(1);
    receive();
    add.known.id = request.id;
    add.known.flags = 4;
    FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add), EINVAL);
    add.known.flags = 0;
    add.known.newfd = 77;
    FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add), EINVAL);
    add.known.flags = SECCOMP_ADDFD_FLAG_SETFD;
    add.known.newfd_flags = O_NONBLOCK;
    FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add), EINVAL);
    add.known.newfd_flags = O_CLOEXEC;
    WANT(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add), 77);
    WANT(fcntl(77, F_GETFD), FD_CLOEXEC);
    add.known.newfd = 1 << 30;
    FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add), EBADF);
    add.known.flags = add.known.newfd = add.known.newfd_flags = 0;
    int next = dup(1);
    close(next);
    CHECK(ioctl(listener, SECCOMP_IOWR(3, add), &add) == next);
    WANT(fcntl(next, F_GETFD), 0);
    fstat(next, &a);
    fstat(pipe_ends[0], &b);
    CHECK(a.st_ino == b.st_ino);
    add.more = 1;
    FAILS(ioctl(listener, SECCOMP_IOWR(3, add), &add), E2BIG);
    add.known.flags = SECCOMP_ADDFD_FLAG_SEND | SECCOMP_ADDFD_FLAG_SETFD;
    add.known.newfd = 1 << 30;
    FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add), EBADF);
    WANT(valid(), 0);
    add.known.newfd = 90;
    add.known.srcfd = open("/", O_PATH);
    FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add), EBADF);
    add.known.srcfd = pipe_ends[0];
    WANT(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add), 90);
    FAILS(valid(), ENOENT);         /* the task has gone on by then */
    pthread_join(id, NULL);
    WANT(thread_result, 90);
    FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add), ENOENT);
    return 0;
}

static void on_signal(int signal)
{
    (void)signal;
}

static void catch(int flags)
{
    struct sigaction act = { .sa_flags = flags };
    act.sa_handler = on_signal;
    sigaction(SIGUSR1, &act, NULL);
}

static int interrupted_before(void)
{
    catch(0);
    listen_to(SYS_getppid, 0);
    pid_t pid = target(asks_for_error);
    WANT(polled(1), POLLIN);
    kill(pid, SIGUSR1);
    WANT(end_of(pid), 200 + EINTR);
    FAILS(receive(), ENOENT);       /* it was counted, and is gone */
    WANT(polled(0), 0);
    return 0;
}

/* An answer that was given before the signal counts. */
static int answered_before_interrupted(void)
{
    catch(0);
    listen_to(SYS_getppid, 0);
    pid_t self = getpid(), pid = target(asks_for_error);
    receive();
    WANT(answer(5, 0, 0), 0);
    kill(pid, SIGUSR1);
    WANT(end_of(pid), 5);
    pid = target(asks);
    receive();
    WANT(answer(0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE), 0);
    kill(pid, SIGUSR1);
    CHECK(end_of(pid) == (self & 127));
    return 0;
}

/* No restart: an error like others, as long as no signal comes. */
static int restart_code(void)
{
    alarm(10);
    listen_to(SYS_getppid, 0);
    pid_t pid = target(asks_for_error);
    receive();
    WANT(answer(0, -512, 0), 0);
    WANT(end_of(pid), 200 + (512 & 31));
    return 0;
}

static int interrupted_and_restarted(void)
{
    catch(SA_RESTART);
    listen_to(SYS_getppid, 0);
    pid_t pid = target(asks_for_error);
    receive();
    unsigned long id = request.id;
    kill(pid, SIGUSR1);
    while (!valid())
        sched_yield();
    FAILS(valid(), ENOENT);
    FAILS(answer(1, 0, 0), ENOENT);
    WANT(receive(), 0);
    CHECK(request.id == id + 1);
    WANT(answer(3, 0, 0), 0);
    WANT(end_of(pid), 3);
    return 0;
}

static int killable(void)
{
    catch(0);
    CHECK(listen_to(SYS_getppid, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) >= 0);
    pid_t pid = target(asks_for_error);
    WANT(polled(1), POLLIN);
    kill(pid, SIGUSR1);
    WANT(end_of(pid), 200 + EINTR);     /* not received: as ever */
    FAILS(receive(), ENOENT);
    pid = target(asks_for_error);
    WANT(receive(), 0);
    kill(pid, SIGUSR1);
    for (int i = 0; i < 20; i++)
        sched_yield();
    WANT(valid(), 0);
    WANT(answer(4, 0, 0), 0);
    WANT(end_of(pid), 4);
    pid = target(asks_for_error);
    WANT(receive(), 0);
    kill(pid, SIGKILL);
    WANT(end_of(pid), 1000 + SIGKILL);
    FAILS(valid(), ENOENT);
    FAILS(answer(4, 0, 0), ENOENT);
    WANT(polled(0), 0);
    return 0;
}

static int stopped_and_continued(void)
{
    int status;
    listen_to(SYS_getppid, 0);
    pid_t pid = target(asks_for_error);
    WANT(receive(), 0);
    kill(pid, SIGSTOP);
    waitpid(pid, &status, WUNTRACED);
    FAILS(valid(), ENOENT);
    kill(pid, SIGCONT);
    WANT(receive(), 0);
    WANT(answer(6, 0, 0), 0);
    WANT(end_of(pid), 6);
    return 0;
}

static long asks_twice(void)
{
    long first = syscall(SYS_getppid);
    if (first != -1 || errno != ENOSYS)
        return 1;
    errno = 0;
    return syscall(SYS_getppid);
}

static int closed(void)
{
    listen_to(SYS_getppid, 0);
    pid_t received = target(asks_twice);
    receive();
    pid_t waiting = target(asks_for_error);
    while (!(polled(0) & POLLIN))
        sched_yield();
    close(listener);
    WANT(end_of(received), 200 + (ENOSYS & 31));
    WANT(end_of(waiting), 200 + (ENOSYS & 31));
    FAILS(syscall(SYS_getppid), ENOSYS);
    return 0;
}

static int only_one(void)
{
    CHECK(listen_to(SYS_getppid, 0) >= 0);
    FAILS(install_filter(SYS_getpgid, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER), EBUSY);
    WANT(install_filter(SYS_getpgid, SECCOMP_RET_USER_NOTIF, 0), 0);
    FAILS(syscall(SYS_getpgid, 0), ENOSYS);
    close(listener);
    CHECK(listen_to(SYS_getpgid, 0) >= 0);
    return 0;
}

static void *installs_and_ends(void *unused)
{
    (void)unused;
    listen_to(SYS_getppid, 0);
    return NULL;
}

static int nobody_left(void)
{
    pthread_t id;
    pthread_create(&id, NULL, installs_and_ends, NULL);
    pthread_join(id, NULL);
    WANT(polled(1), POLLHUP);
    FAILS(receive(), ENOENT);
    return 0;
}

static void *ends_the_group(void *unused)
{
    (void)unused;
    listen_to(SYS_getppid, 0);
    syscall(SYS_getppid);
    return NULL;
}

/* The task is killed while it waits, by the end of its group. */
static int killed_by_group(void)
{
    int ends[2], status;
    pthread_t id;
    pipe(ends);
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        pthread_create(&id, NULL, ends_the_group, NULL);
        while (!listener)
            sched_yield();
        receive();
        exit(7);
    }
    waitpid(pid, &status, 0);
    WANT(WEXITSTATUS(status), 7);
    return 0;
}

static int read_only_buffer(void)
{
    char *page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    listen_to(SYS_getppid, 0);
    pid_t pid = target(asks_for_error);
    polled(1);
    FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, page), EFAULT);
    WANT(polled(0), POLLIN);
    WANT(receive(), 0);
    WANT(answer(8, 0, 0), 0);
    WANT(end_of(pid), 8);
    return 0;
}

static char *program;
static long executes(void)
{
    execl(program, "notify", "again", NULL);
    return 1;
}

static int continues_to_exec(void)
{
    listen_to(SYS_execve, 0);
    pid_t pid = target(executes);
    WANT(receive(), 0);
    WANT(answer(0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE), 0);
    WANT(end_of(pid), 24);
    return 0;
}

static volatile int handled;

static void on_usr2(int signal)
{
    (void)signal;
    handled = 12;
}

static long returns_from_handler(void)
{
    signal(SIGUSR2, on_usr2);
    raise(SIGUSR2);
    return handled;
}

static int continues_to_sigreturn(void)
{
    listen_to(SYS_rt_sigreturn, 0);
    pid_t pid = target(returns_from_handler);
    WANT(receive(), 0);
    WANT(answer(0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE), 0);
    WANT(end_of(pid), 12);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return 24;
    program = argv[0];
    guest_start();
    CHILD(fields, exited, 0);
    CHILD(several, exited, 0);
    CHILD(continues, exited, 0);
    CHILD(continues_to_sleep, exited, 0);
    CHILD(continues_to_fork, exited, 0);
    CHILD(continues_to_exec, exited, 0);
    CHILD(continues_to_sigreturn, exited, 0);
    CHILD(descriptors, exited, 0);
    CHILD(interrupted_before, exited, 0);
    CHILD(answered_before_interrupted, exited, 0);
    CHILD(restart_code, exited, 0);
    CHILD(interrupted_and_restarted, exited, 0);
    CHILD(killable, exited, 0);
    CHILD(stopped_and_continued, exited, 0);
    CHILD(closed, exited, 0);
    CHILD(only_one, exited, 0);
    CHILD(nobody_left, exited, 0);
    CHILD(killed_by_group, exited, 0);
    CHILD(read_only_buffer, exited, 0);
    return guest_end();
}
