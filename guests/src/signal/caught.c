/* Faults that the program catches: the exact address and cause, and going on after them.
 * man 2 sigaction (the siginfo_t argument) */
#include "guest.h"
#include <setjmp.h>
#include <ucontext.h>

static sigjmp_buf again;
static volatile int signal_seen, code_seen;
static void *volatile address_seen;

static void caught(int signal, siginfo_t *info, void *context)
{
    (void)context;
    signal_seen = signal;
    code_seen = info->si_code;
    address_seen = info->si_addr;
    siglongjmp(again, 1);
}

/* Mend what was wrong and let the instruction run again. */
static void mend(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    address_seen = info->si_addr;
    mprotect((void *)((uintptr_t)info->si_addr & -PAGE), PAGE, PROT_READ | PROT_WRITE);
}

#define FAULT(statement) \
    do { signal_seen = 0; if (!sigsetjmp(again, 1)) { statement; } } while (0)

int main(void)
{
    struct sigaction act = { .sa_sigaction = caught, .sa_flags = SA_SIGINFO };
    guest_start();
    sigaction(SIGSEGV, &act, NULL);
    sigaction(SIGBUS, &act, NULL);
    sigaction(SIGILL, &act, NULL);
    sigaction(SIGTRAP, &act, NULL);

    FAULT(*(volatile int *)16 = 1);
    CHECK(signal_seen == SIGSEGV && code_seen == SEGV_MAPERR && address_seen == (void *)16);
    char *page = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FAULT(*(volatile char *)(page + 1234) = 1);
    CHECK(signal_seen == SIGSEGV && code_seen == SEGV_ACCERR && address_seen == page + 1234);
    FAULT(((void (*)(void))page)());
    CHECK(signal_seen == SIGSEGV && code_seen == SEGV_ACCERR && address_seen == page);
    munmap(page + PAGE, PAGE);
    mprotect(page, PAGE, PROT_NONE);
    volatile char sink;
    FAULT(sink = *(volatile char *)(page + 77));
    (void)sink;
    CHECK(signal_seen == SIGSEGV && code_seen == SEGV_ACCERR && address_seen == page + 77);
    uint64_t word;
    FAULT(memcpy(&word, page + PAGE, 8); __asm__ volatile("" : : "r"(word)));
    CHECK(signal_seen == SIGSEGV && code_seen == SEGV_MAPERR && address_seen == page + PAGE);

    /* a store across a page border: the address is where the missing page begins */
    mprotect(page, PAGE, PROT_READ | PROT_WRITE);
    memset(page, 5, PAGE);
    FAULT(*(volatile uint64_t *)(page + PAGE - 4) = 0);
    CHECK(signal_seen == SIGSEGV && code_seen == SEGV_MAPERR);
    CHECK(page[PAGE - 1] == 5);

    int fd = memfd_create("short", 0);
    CHECK(fd >= 0 && !ftruncate(fd, 100));
    char *file = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    file[4095] = 1;
    FAULT(file[PAGE + 8] = 1);
    CHECK(signal_seen == SIGBUS && code_seen == BUS_ADRERR && address_seen == file + PAGE + 8);

    FAULT(__builtin_trap());
    CHECK(signal_seen == SIGILL || signal_seen == SIGTRAP);

    /* mended: the instruction is made again */
    act.sa_sigaction = mend;
    sigaction(SIGSEGV, &act, NULL);
    mprotect(page, PAGE, PROT_NONE);
    *(volatile char *)(page + 9) = 42;
    CHECK(address_seen == page + 9 && page[9] == 42 && page[8] == 5);
    return guest_end();
}
