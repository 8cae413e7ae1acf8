/* futex(2) itself: what each operation returns, wakes, moves and refuses.
 * man 2 futex */
#include "guest.h"
#include "asleep.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

static uint32_t word, other, *shared;

static long futex(uint32_t *uaddr, int op, uint32_t val, const void *timeout, uint32_t *uaddr2, uint32_t val3)
{
    return syscall(SYS_futex, uaddr, op, val, timeout, uaddr2, val3);
}

/* `op`, whatever the words are called */
#define WAIT(uaddr, val, timeout) futex(uaddr, FUTEX_WAIT_PRIVATE, val, timeout, NULL, 0)
#define WAKE(uaddr, count) futex(uaddr, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0)

static const struct timespec soon = { 0, 10000000 }, never = { 1000, 0 }, negative = { -1, 0 }, wrong = { 0, 1000000000 };

static void refusals(void)
{
    word = 1;
    FAILS(WAIT(&word, 0, NULL), EAGAIN);
    FAILS(WAIT(&word, 1, &soon), ETIMEDOUT);
    FAILS(WAIT(&word, 1, &negative), EINVAL);
    FAILS(WAIT(&word, 1, &wrong), EINVAL);
    FAILS(WAIT(&word, 0, BAD), EFAULT);
    FAILS(WAIT(BAD, 0, &soon), EFAULT);
    FAILS(WAIT(WILD, 0, &soon), EFAULT);
    FAILS(WAIT((uint32_t *)((char *)&word + 1), 0, &soon), EINVAL);
    WANT(WAKE(&word, 1), 0);
    WANT(WAKE(BAD, 1), 0);                      /* nobody looks at the word */
    FAILS(WAKE(WILD, 1), EFAULT);
    FAILS(WAKE((uint32_t *)((char *)&word + 2), 1), EINVAL);
    FAILS(futex(BAD, FUTEX_WAKE, 1, NULL, NULL, 0), EFAULT);
    FAILS(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 1, NULL, NULL, 0), EINVAL);
    FAILS(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 1, NULL, NULL, 0), EINVAL);
    FAILS(futex(&word, 77, 1, NULL, NULL, 0), ENOSYS);
    FAILS(futex(&word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1, NULL, NULL, 0), ENOSYS);
    FAILS(futex(&word, FUTEX_REQUEUE_PRIVATE, 1, (void *)1, BAD + 1, 0), EINVAL);
    FAILS(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)1, &other, 2), EAGAIN);
    FAILS(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, -1, (void *)1, &other, 1), EINVAL);
    FAILS(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)-1, &other, 1), EINVAL);
    FAILS(futex(BAD, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)1, &other, 1), EFAULT);
}

/* An absolute deadline that has passed, on both clocks. */
static void deadlines(void)
{
    struct timespec now;
    word = 1;
    clock_gettime(CLOCK_MONOTONIC, &now);
    FAILS(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 1, &now, NULL, 1), ETIMEDOUT);
    FAILS(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &now, NULL, 1), EAGAIN);
    clock_gettime(CLOCK_REALTIME, &now);
    FAILS(futex(&word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 1, &now, NULL, 1), ETIMEDOUT);
    now.tv_sec += 1000;
    FAILS(futex(&word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 2, &now, NULL, 1), EAGAIN);
}

/* Waiters: each says which one it was, in the order of waking. */
struct waiter {
    pthread_t thread;
    uint32_t *uaddr, bitset;
    int name, flags;
    long result;
};
static struct waiter waiters[8];
static volatile int starting, order[8], woken;

static void *wait_for(void *arg)
{
    struct waiter *me = arg;
    starting = (int)syscall(SYS_gettid);
    me->result = futex(me->uaddr, FUTEX_WAIT_BITSET | me->flags, 1, NULL, NULL, me->bitset);
    order[__atomic_fetch_add(&woken, 1, __ATOMIC_SEQ_CST)] = me->name;
    return NULL;
}

static void start(int count, uint32_t *uaddr, int flags)
{
    woken = 0;
    for (int i = 0; i < count; i++) {
        waiters[i].uaddr = uaddr;
        waiters[i].flags = flags;
        waiters[i].name = i;
        waiters[i].bitset = 1u << i;
        starting = 0;
        pthread_create(&waiters[i].thread, NULL, wait_for, &waiters[i]);
        while (!starting)
            usleep(100);
        until_asleep(getpid(), starting);
    }
}

static void after(int count)
{
    for (int tries = 0; woken < count && tries < 2000; tries++)
        usleep(500);
    usleep(3000);
    printf("awake:");
    for (int i = 0; i < woken; i++)
        printf(" %d", order[i]);
    puts("");
}

static void finish(int count)
{
    for (int i = 0; i < count; i++) {
        pthread_join(waiters[i].thread, NULL);
        if (waiters[i].result)
            printf("FAIL: waiter %d got %ld\n", i, waiters[i].result);
    }
}

static void waking(void)
{
    word = 1;
    start(4, &word, FUTEX_PRIVATE_FLAG);
    WANT(WAKE(&other, 8), 0);
    WANT(futex(&word, FUTEX_WAKE, 8, NULL, NULL, 0), 0);        /* a shared one of a private word's address */
    WANT(WAKE(&word, 0), 1);                                    /* none is one */
    after(1);
    WANT(WAKE(&word, 1), 1);
    after(2);
    WANT(WAKE(&word, 100), 2);
    WANT(WAKE(&word, 1), 0);
    finish(4);

    start(5, &word, FUTEX_PRIVATE_FLAG);
    WANT(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 8, NULL, NULL, 0x20), 0);
    WANT(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 8, NULL, NULL, 0x8), 1);
    after(1);
    WANT(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 1, NULL, NULL, 0x12), 1);
    after(2);
    WANT(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 8, NULL, NULL, 0xffffffff), 3);
    finish(5);
}

static void moving(void)
{
    word = other = 1;
    start(5, &word, FUTEX_PRIVATE_FLAG);
    WANT(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2, &other, 1), 3);
    after(1);
    WANT(WAKE(&other, 1), 1);
    after(2);
    WANT(WAKE(&word, 1), 1);
    after(3);
    WANT(futex(&word, FUTEX_REQUEUE_PRIVATE, 0, (void *)9, &other, 0), 1);      /* tells who moved as well */
    WANT(WAKE(&word, 9), 0);
    WANT(WAKE(&other, 9), 2);
    finish(5);
}

/* Wake waiters of the first word, change the second, perhaps wake its waiters too. */
static void operations(void)
{
    word = other = 1;
    WANT(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &other, FUTEX_OP(FUTEX_OP_SET, 5, FUTEX_OP_CMP_EQ, 9)), 0);
    WANT(other, 5);
    WANT(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &other, FUTEX_OP(FUTEX_OP_ADD, 2, FUTEX_OP_CMP_NE, 5)), 0);
    WANT(other, 7);
    WANT(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &other, FUTEX_OP(FUTEX_OP_OR, 8, FUTEX_OP_CMP_LT, 5)), 0);
    WANT(other, 15);
    WANT(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &other, FUTEX_OP(FUTEX_OP_ANDN, 3, FUTEX_OP_CMP_LE, 5)), 0);
    WANT(other, 12);
    WANT(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &other, FUTEX_OP(FUTEX_OP_XOR, 6, FUTEX_OP_CMP_GT, 50)), 0);
    WANT(other, 10);
    WANT(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &other,
               FUTEX_OP((FUTEX_OP_ADD | FUTEX_OP_OPARG_SHIFT), 4, FUTEX_OP_CMP_GE, 5)), 0);
    WANT(other, 26);
    WANT(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &other, FUTEX_OP(FUTEX_OP_ADD, 0xfff, FUTEX_OP_CMP_GE, 5)), 0);
    WANT(other, 25);
    FAILS(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &other, FUTEX_OP(6, 0, 0, 0)), ENOSYS);
    FAILS(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, BAD, FUTEX_OP(0, 0, 0, 0)), EFAULT);
    FAILS(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, BAD + 1, FUTEX_OP(0, 0, 0, 0)), EINVAL);

    start(3, &word, FUTEX_PRIVATE_FLAG);
    other = 4;
    WANT(futex(&other, FUTEX_WAKE_OP_PRIVATE, 1, (void *)2, &word, FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_EQ, 9)), 0);
    WANT(futex(&other, FUTEX_WAKE_OP_PRIVATE, 1, (void *)2, &word, FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_EQ, 1)), 2);
    WANT(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &other, FUTEX_OP(FUTEX_OP_SET, 0, FUTEX_OP_CMP_EQ, 4)), 1);
    finish(3);
}

static volatile int rung;

static void ring(int signal)
{
    (void)signal;
    rung++;
}

static void *kick(void *arg)
{
    for (int i = 0; i < 2; i++) {
        while (rung != i)
            usleep(100);
        until_asleep(getpid(), *(int *)arg);
        syscall(SYS_tgkill, getpid(), *(int *)arg, SIGUSR1);
    }
    while (rung != 2 || WAKE(&word, 1) != 1)
        usleep(100);
    return NULL;
}

/* A signal ends a wait with a deadline, and with SA_RESTART one without is made again. */
static void signals(void)
{
    pthread_t thread;
    int tid = getpid();
    struct sigaction act = { .sa_handler = ring };
    sigaction(SIGUSR1, &act, NULL);
    word = 1;
    pthread_create(&thread, NULL, kick, &tid);
    FAILS(WAIT(&word, 1, &never), EINTR);
    act.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &act, NULL);
    WANT(WAIT(&word, 1, NULL), 0);
    pthread_join(thread, NULL);
    WANT(rung, 2);
}

/* Between processes: an anonymous shared page, and one of a file mapped at two places. */
static void processes(void)
{
    char path[] = "futex.page";
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600), status;
    ftruncate(fd, PAGE);
    uint32_t *here = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    uint32_t *there = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    unlink(path);
    shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = fork();
    if (!child) {
        uint32_t value = 0;
        if (futex(shared, FUTEX_WAIT, 0, NULL, NULL, 0) || shared[0] != 1)
            _exit(1);
        if (futex(here + 3, FUTEX_WAIT, 0, NULL, NULL, 0))
            _exit(2);
        /* private memory is nobody else's after a fork */
        if (futex(&value, FUTEX_WAIT, 0, &soon, NULL, 0) != -1 || errno != ETIMEDOUT)
            _exit(3);
        _exit(0);
    }
    until_asleep(child, child);
    shared[0] = 1;
    while (futex(shared, FUTEX_WAKE, 1, NULL, NULL, 0) != 1)
        usleep(1000);
    while (futex(there + 3, FUTEX_WAKE, 1, NULL, NULL, 0) != 1)
        usleep(1000);
    WANT(waitpid(child, &status, 0) == child, 1);
    WANT(status, 0);
    close(fd);
}

int main(void)
{
    guest_start();
    refusals();
    deadlines();
    waking();
    moving();
    operations();
    signals();
    processes();
    return guest_end();
}
