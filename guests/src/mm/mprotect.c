/* mprotect: exact page permissions as the kernel sees them, splitting, holes.  man 2 mprotect */
#include "guest.h"

int main(void)
{
    guest_start();
    char *p = mmap(NULL, 6 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MAPPED(p);
    memset(p, 'x', 6 * PAGE);
    WANT(mprotect(p + PAGE, PAGE, PROT_READ), 0);
    WANT(mprotect(p + 2 * PAGE, PAGE, PROT_NONE), 0);
    WANT(mprotect(p + 4 * PAGE, PAGE, PROT_READ | PROT_EXEC), 0);
    CHECK(writable(p));
    CHECK(readable(p + PAGE) && !writable(p + PAGE));
    CHECK(!readable(p + 2 * PAGE));
    CHECK(writable(p + 3 * PAGE));
    CHECK(readable(p + 4 * PAGE) && !writable(p + 4 * PAGE));
    /* contents survive, and a write that crosses into a closed page stops there */
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    WANT(write(fd, p + 2 * PAGE - 10, 20), 10);
    WANT(mprotect(p, 6 * PAGE, PROT_READ | PROT_WRITE), 0);
    CHECK(p[2 * PAGE] == 'x' && writable(p + 2 * PAGE));
    WANT(write(fd, p + 2 * PAGE - 10, 20), 20);

    FAILS(syscall(SYS_mprotect, p + 1, PAGE, PROT_READ), EINVAL);
    WANT(mprotect(p, 0, PROT_READ), 0);
    CHECK(writable(p));
    FAILS(mprotect(p, PAGE, 0x100000), EINVAL);
    /* a hole: ENOMEM, and the part before it has changed */
    WANT(munmap(p + 3 * PAGE, PAGE), 0);
    FAILS(mprotect(p + 2 * PAGE, 3 * PAGE, PROT_READ), ENOMEM);
    CHECK(!writable(p + 2 * PAGE) && writable(p + 4 * PAGE));
    FAILS(mprotect(p + 3 * PAGE, PAGE, PROT_READ), ENOMEM);
    FAILS(syscall(SYS_mprotect, BAD, PAGE, PROT_READ), EINVAL);

    /* code written as data, then made executable */
#ifdef __x86_64__
    static const unsigned char code[] = { 0x8d, 0x47, 0x02, 0xc3 };                 /* lea eax, [rdi+2]; ret */
    static const unsigned char more[] = { 0x8d, 0x47, 0x07, 0xc3 };
#else
    static const unsigned char code[] = { 0x00, 0x08, 0x00, 0x11, 0xc0, 0x03, 0x5f, 0xd6 };  /* add w0, w0, #2; ret */
    static const unsigned char more[] = { 0x00, 0x1c, 0x00, 0x11, 0xc0, 0x03, 0x5f, 0xd6 };
#endif
    memcpy(p, code, sizeof code);
    __builtin___clear_cache(p, p + sizeof code);
    WANT(mprotect(p, PAGE, PROT_READ | PROT_EXEC), 0);
    int (*plus)(int) = (int (*)(int))(uintptr_t)p;
    WANT(plus(40), 42);
    WANT(mprotect(p, PAGE, PROT_READ | PROT_WRITE), 0);
    memcpy(p, more, sizeof more);
    __builtin___clear_cache(p, p + sizeof more);
    WANT(mprotect(p, PAGE, PROT_READ | PROT_EXEC), 0);
    WANT(plus(40), 47);
    /* writable and executable at once */
    WANT(mprotect(p, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
    for (int i = 0; i < 4; i++) {
        memcpy(p, i & 1 ? more : code, sizeof code);
        __builtin___clear_cache(p, p + sizeof code);
        WANT(plus(i), i + (i & 1 ? 7 : 2));
    }
    return guest_end();
}
