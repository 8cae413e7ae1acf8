/* A lock with priority inheritance whose word can't be written: who waits for it is not forgotten.  man 2 futex */
#include "guest.h"
#include <linux/futex.h>
#include <pthread.h>

static volatile uint32_t *word;

static long futex(int op)
{
    return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0);
}

static void *waits(void *unused)
{
    (void)unused;
    return (void *)futex(FUTEX_LOCK_PI);
}

int main(void)
{
    pthread_t thread;
    void *result = BAD;
    guest_start();
    word = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    WANT(futex(FUTEX_LOCK_PI), 0);
    CHECK(pthread_create(&thread, NULL, waits, NULL) == 0);
    while (!(*word & FUTEX_WAITERS))
        usleep(1000);
    usleep(1000);
    WANT(mprotect((void *)word, PAGE, PROT_READ), 0);
    FAILS(futex(FUTEX_UNLOCK_PI), EFAULT);
    WANT(mprotect((void *)word, PAGE, PROT_READ | PROT_WRITE), 0);
    WANT(futex(FUTEX_UNLOCK_PI), 0);
    CHECK(pthread_join(thread, &result) == 0);
    WANT((long)result, 0);
    return guest_end();
}
