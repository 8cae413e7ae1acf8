/* Ends: of one thread, of all of them while they sleep, spin, wait for a lock or a pipe; and what the end gives back.
 * man 2 exit_group, man 3 pthread_exit */
#include "guest.h"
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>

static int status, fds[2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int ended(pid_t child)
{
    if (waitpid(child, &status, 0) != child)
        return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void *in_a_sleep(void *arg)
{
    struct timespec long_time = { 1000, 0 };
    nanosleep(&long_time, NULL);
    return arg;
}

static void *in_a_pause(void *arg)
{
    pause();
    return arg;
}

static void *in_a_read(void *arg)
{
    char byte;
    read(fds[0], &byte, 1);
    return arg;
}

static void *in_a_poll(void *arg)
{
    struct pollfd polled = { fds[0], POLLIN, 0 };
    poll(&polled, 1, -1);
    return arg;
}

static void *in_a_lock(void *arg)
{
    pthread_mutex_lock(&lock);
    return arg;
}

static void *in_a_wait(void *arg)
{
    if (!fork()) {
        pause();
        _exit(0);
    }
    wait(NULL);
    return arg;
}

static void *in_a_loop(void *arg)
{
    for (;;)
        ;
    return arg;
}

static void *in_a_vfork(void *arg)
{
    pid_t child = vfork();
    if (!child) {
        syscall(SYS_nanosleep, &(struct timespec) { 0, 30000000 }, NULL);
        _exit(0);
    }
    return arg;
}

static void *(*const places[])(void *) = {
    in_a_sleep, in_a_pause, in_a_read, in_a_poll, in_a_lock, in_a_wait, in_a_loop, in_a_vfork,
};

static void *ends_all(void *arg)
{
    usleep(3000);
    syscall(SYS_exit_group, (int)(intptr_t)arg);
    return NULL;
}

static void everywhere(int from_a_thread)
{
    pthread_t thread;
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        setpgid(0, 0);
        pthread_mutex_lock(&lock);
        for (size_t i = 0; i < sizeof places / sizeof *places; i++)
            pthread_create(&thread, NULL, places[i], NULL);
        if (from_a_thread) {
            pthread_create(&thread, NULL, ends_all, (void *)41);
            for (;;)
                pause();
        }
        ends_all((void *)40);
    }
    WANT(ended(child), from_a_thread ? 41 : 40);
    kill(-child, SIGKILL);                                      /* the one that nobody waits for any more */
}

static void *last(void *arg)
{
    usleep(5000);
    syscall(SYS_exit, (int)(intptr_t)arg);
    return NULL;
}

/* The status is the last thread's that ended by itself; the first thread is a zombie until then. */
static void one_by_one(void)
{
    pthread_t thread;
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        pthread_create(&thread, NULL, last, (void *)52);
        syscall(SYS_exit, 51);
    }
    usleep(1000);
    WANT(ended(child), 52);
    child = fork();
    if (!child) {
        pthread_create(&thread, NULL, ends_all, (void *)53);
        syscall(SYS_exit, 50);
    }
    WANT(ended(child), 53);
    child = fork();
    if (!child) {
        pthread_create(&thread, NULL, in_a_sleep, NULL);
        syscall(SYS_exit, 50);
    }
    usleep(3000);
    WANT(waitpid(child, &status, WNOHANG), 0);
    WANT(kill(child, SIGTERM), 0);                              /* the thread that is left takes it */
    WANT(ended(child), 1000 + SIGTERM);
}

/* Locks, descriptors and memory go with the process. */
static void given_back(void)
{
    int fd = open("tasks.lock", O_RDWR | O_CREAT, 0600);
    struct flock range = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    int told[2];
    char byte;
    pipe(told);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        fcntl(fd, F_SETLK, &range);
        flock(open("tasks.lock", O_RDWR), LOCK_EX);
        write(told[1], "", 1);
        pause();
    }
    close(told[1]);
    read(told[0], &byte, 1);
    FAILS(fcntl(fd, F_SETLK, &range), EAGAIN);
    FAILS(flock(fd, LOCK_EX | LOCK_NB), EAGAIN);
    WANT(kill(child, SIGKILL), 0);
    WANT(fcntl(fd, F_SETLKW, &range), 0);
    WANT(flock(fd, LOCK_EX), 0);
    WANT(read(told[0], &byte, 1), 0);
    WANT(ended(child), 1000 + SIGKILL);
    close(told[0]);
    close(fd);
    unlink("tasks.lock");
}

/* What a dead owner's robust locks say: OWNER_DIED, and their waiters are woken. */
struct node {
    struct node *next;
    uint32_t word, pad;
};
struct head {
    struct node *next;
    long offset;
    struct node *pending;
};

static void robust(void)
{
    struct { struct head head; struct node held, waited, other, pending; } *mine;
    mine = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        uint32_t self = (uint32_t)getpid();
        mine->held.word = self;
        mine->waited.word = self | FUTEX_WAITERS;
        mine->other.word = self + 1;
        mine->pending.word = self;
        mine->head.next = &mine->held;
        mine->held.next = &mine->waited;
        mine->waited.next = &mine->other;
        mine->other.next = (struct node *)&mine->head;
        mine->head.offset = offsetof(struct node, word);
        mine->head.pending = &mine->pending;
        syscall(SYS_set_robust_list, &mine->head, sizeof mine->head);
        usleep(10000);
        _exit(0);
    }
    while (!*(volatile uint32_t *)&mine->waited.word)
        usleep(200);
    uint32_t held = (uint32_t)child | FUTEX_WAITERS;
    WANT(syscall(SYS_futex, &mine->waited.word, FUTEX_WAIT, held, NULL, NULL, 0), 0);
    WANT(ended(child), 0);
    CHECK(mine->held.word == FUTEX_OWNER_DIED);
    CHECK(mine->waited.word == (FUTEX_OWNER_DIED | FUTEX_WAITERS));
    CHECK(mine->other.word == (uint32_t)child + 1);
    CHECK(mine->pending.word == FUTEX_OWNER_DIED);
    /* lists that go astray hurt nobody */
    for (int wrong = 0; wrong < 4; wrong++) {
        child = fork();
        if (!child) {
            mine->held.word = (uint32_t)getpid();
            mine->head.next = &mine->held;
            mine->held.next = wrong == 0 ? &mine->held : wrong == 1 ? BAD : wrong == 2 ? WILD : (struct node *)&mine->head;
            mine->head.offset = wrong == 3 ? 1 : offsetof(struct node, word);
            mine->head.pending = wrong == 3 ? BAD : NULL;
            syscall(SYS_set_robust_list, wrong == 2 ? BAD : (void *)&mine->head, sizeof mine->head);
            _exit(4);
        }
        WANT(ended(child), 4);
        CHECK(mine->held.word == (wrong < 2 ? FUTEX_OWNER_DIED : (uint32_t)child));
    }
    munmap(mine, PAGE);
}

/* Mutexes of pthread that outlive their owners. */
static void robust_mutex(void)
{
    pthread_mutex_t *mutex = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(mutex, &attributes);
    int told[2];
    char byte;
    pipe(told);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        pthread_mutex_lock(mutex);
        write(told[1], "", 1);
        usleep(5000);
        raise(SIGKILL);
    }
    read(told[0], &byte, 1);
    CHECK(pthread_mutex_lock(mutex) == EOWNERDEAD);
    WANT(pthread_mutex_consistent(mutex), 0);
    WANT(pthread_mutex_unlock(mutex), 0);
    WANT(pthread_mutex_lock(mutex), 0);
    WANT(ended(child), 1000 + SIGKILL);
}

int main(void)
{
    guest_start();
    pipe(fds);
    everywhere(0);
    everywhere(1);
    one_by_one();
    given_back();
    robust();
    robust_mutex();
    return guest_end();
}
