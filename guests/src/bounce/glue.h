/* For guests that make calls by the instruction itself, as old programs do: calls that newer ones have replaced. */
#include "guest.h"
#include <sys/time.h>

#define ARG(x) ((long)(x))
#define CALL(nr, ...) call_(SYS_##nr, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define call_(nr, a, b, c, d, e, f, ...) call(nr, ARG(a), ARG(b), ARG(c), ARG(d), ARG(e), ARG(f))

static inline void test(const char *name)
{
    printf("[%s]\n", name);
}

/* A call of six arguments, of which none may have changed afterwards. */
static inline long call(long number, long a, long b, long c, long d, long e, long f)
{
    long result;
    int kept;
#ifdef __aarch64__
    register long x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c, x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e, x5 __asm__("x5") = f, x8 __asm__("x8") = number;
    __asm__ volatile("svc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3), "+r"(x4), "+r"(x5), "+r"(x8) : : "memory", "cc");
    result = x0;
    kept = x1 == b && x2 == c && x3 == d && x4 == e && x5 == f && x8 == number;
#else
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long rdi = a, rsi = b, rdx = c;
    __asm__ volatile("syscall" : "=a"(result), "+D"(rdi), "+S"(rsi), "+d"(rdx), "+r"(r10), "+r"(r8), "+r"(r9)
                     : "a"(number) : "rcx", "r11", "memory");
    kept = rdi == a && rsi == b && rdx == c && r10 == d && r8 == e && r9 == f;
#endif
    if (!kept) {
        printf("call %ld: ", number);
        CHECK(kept);
    }
    if (result < 0 && result > -4096) {
        errno = -result;
        return -1;
    }
    return result;
}

static volatile int signals;

static inline void on_signal(int signo)
{
    (void)signo;
    signals++;
}

static inline void handle(int signo, int flags)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = flags };
    sigaction(signo, &action, NULL);
}

/* SIGALRM after so many microseconds, and again and again. */
static inline void ring(long usec)
{
    struct itimerval timer = { { 0, usec }, { 0, usec } };
    signals = 0;
    setitimer(ITIMER_REAL, &timer, NULL);
}

static inline void quiet(void)
{
    struct itimerval none = { { 0, 0 }, { 0, 0 } };
    setitimer(ITIMER_REAL, &none, NULL);
}

static inline void *read_only(const void *bytes, size_t count)
{
    char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(page, bytes, count);
    mprotect(page, PAGE, PROT_READ);
    return page;
}
