/* Every function against the call itself: with arguments that mean nothing, both say the same.
 * guest-library: libkernel
 */
#include "guest.h"
#include <uabi/uabi.h>

struct call {
    const char *name;
    long number;
    long (*function)(long, long, long, long, long, long);
};

#ifdef __x86_64__
#define NUMBER(x86_64, aarch64) x86_64
#else
#define NUMBER(x86_64, aarch64) aarch64
#endif
#define CALL(name, x86_64, aarch64, arguments, version) { #name, NUMBER(x86_64, aarch64), (void *)__kernel_##name },
static const struct call calls[] = { UABI_CALLS(CALL, CALL) };

/* Without a return, with an effect on the next one, or on the machine that this runs on; with a result of its own in
 * UABI_2; and those that the vDSO answers itself, where a bad pointer is a fault, as in Linux's. */
static const char *const skipped =
    " exit exit_group fork vfork clone clone3 execve execveat rt_sigreturn pause setsid umask alarm vhangup sync brk"
    " clock_gettime clock_getres gettimeofday time getcpu eventfd ";

static long raw(long number, long a, long b, long c, long d, long e, long f)
{
#ifdef __x86_64__
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long result;

    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#else
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;

    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
#endif
}

static int is_skipped(const char *name)
{
    size_t length = strlen(name);

    for (const char *at = skipped; (at = strchr(at, ' ')); at++)
        if (!strncmp(at + 1, name, length) && at[1 + length] == ' ')
            return 1;
    return 0;
}

static void compare(long value)
{
    int compared = 0;

    for (const struct call *call = calls; call < calls + sizeof calls / sizeof *calls; call++) {
        if (is_skipped(call->name))
            continue;
        long got = call->function(value, value, value, value, value, value), want = -ENOSYS;

        if (call->number >= 0)
            want = raw(call->number, value, value, value, value, value, value);
        if (got != want)
            printf("FAIL %s(%ld ...) = %ld, by the call itself %ld\n", call->name, value, got, want), guest_failures++;
        compared++;
    }
    CHECK(compared > 200);
}

int main(void)
{
    char buffer[8] = "";
    int fds[2];

    guest_start();
    puts("-- all of them, with -1 for each argument");
    compare(-1);

    puts("-- some with a meaning");
    WANT(__kernel_pipe2(fds, 0), 0);
    WANT(__kernel_write(fds[1], "abc", 3), 3);
    WANT(__kernel_read(fds[0], buffer, 8), 3);
    CHECK(!memcmp(buffer, "abc", 4));
    CHECK(__kernel_getpid() == raw(SYS_getpid, 0, 0, 0, 0, 0, 0));
    CHECK(__kernel_gettid() == raw(SYS_gettid, 0, 0, 0, 0, 0, 0));
    CHECK(__kernel_getppid() == raw(SYS_getppid, 0, 0, 0, 0, 0, 0));
    CHECK(__kernel_getuid() == raw(SYS_getuid, 0, 0, 0, 0, 0, 0));

    puts("-- four to six arguments, each where the call wants it");
    long file = __kernel_memfd_create("file", 0);
    CHECK(file > 0);
    WANT(__kernel_ftruncate((unsigned)file, 2 * PAGE), 0);
    WANT(__kernel_pwrite64((unsigned)file, "second", 6, PAGE), 6);
    WANT(__kernel_pread64((unsigned)file, buffer, 3, PAGE + 3), 3);
    CHECK(!memcmp(buffer, "ond", 3));
    char *memory = (char *)__kernel_mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, (unsigned)file, PAGE);
    CHECK(!((long)memory & 0xfff) && (long)memory > 0 && !memcmp(memory, "second", 7));
    WANT(__kernel_mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, (unsigned)file, 1), -EINVAL);
    long moved = __kernel_mremap(memory, PAGE, 2 * PAGE, 1, NULL);
    CHECK(moved > 0);
    WANT(__kernel_munmap((void *)moved, 2 * PAGE), 0);
    long from = PAGE;
    WANT(__kernel_splice((int)file, &from, fds[1], NULL, 6, 0), 6);
    CHECK(from == PAGE + 6);
    WANT(__kernel_read(fds[0], buffer, 8), 6);
    CHECK(!memcmp(buffer, "second", 6));
    return guest_end();
}
