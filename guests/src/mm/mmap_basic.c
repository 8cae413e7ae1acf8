/* Anonymous mappings: placement, MAP_FIXED, MAP_FIXED_NOREPLACE, lengths and flags.  man 2 mmap */
#include "guest.h"

int main(void)
{
    guest_start();
    char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MAPPED(p);
    CHECK((uintptr_t)p % PAGE == 0);
    int sum = 0;
    for (unsigned i = 0; i < 4 * PAGE; i++)
        sum += p[i];
    CHECK(sum == 0);
    memset(p, 'a', 4 * PAGE);

    /* MAP_FIXED replaces what is there, page by page */
    CHECK(mmap(p + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + PAGE);
    CHECK(p[PAGE - 1] == 'a' && p[PAGE] == 0 && p[2 * PAGE - 1] == 0 && p[2 * PAGE] == 'a');

    /* NOREPLACE refuses even one page of overlap, and takes a hole */
    FAILS(mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
    WANT(munmap(p + 2 * PAGE, PAGE), 0);
    FAILS(mmap(p + 2 * PAGE, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
    CHECK(mmap(p + 2 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == p + 2 * PAGE);
    CHECK(readable(p + 2 * PAGE) && !writable(p + 2 * PAGE) && p[3 * PAGE] == 'a');

    /* a hint is honoured when the place is free */
    WANT(munmap(p, 4 * PAGE), 0);
    CHECK(mmap(p + PAGE, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == p + PAGE);
    CHECK(!readable(p + PAGE) && !readable(p));
    WANT(munmap(p, 4 * PAGE), 0);
    WANT(munmap(p, 4 * PAGE), 0);

    FAILS(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EINVAL);
    FAILS(mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0), EINVAL);
    FAILS(mmap(p + 1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EINVAL);
    FAILS(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0), EBADF);
    FAILS(syscall(SYS_mmap, NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 1), EINVAL);
    FAILS(syscall(SYS_mmap, NULL, -PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    FAILS(munmap(p + 1, PAGE), EINVAL);
    FAILS(munmap(p, 0), EINVAL);

    /* an odd length is rounded up to a page */
    p = mmap(NULL, PAGE + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(writable(p + 2 * PAGE - 1));
    WANT(munmap(p, PAGE + 1), 0);
    CHECK(!readable(p + 2 * PAGE - 1));

    /* address space costs nothing until it is used */
    p = mmap(NULL, 1UL << 42, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MAPPED(p);
    CHECK(!readable(p + (1UL << 41)));
    WANT(mprotect(p + (1UL << 41), PAGE, PROT_READ | PROT_WRITE), 0);
    p[1UL << 41] = 'z';
    CHECK(p[1UL << 41] == 'z');
    WANT(munmap(p, 1UL << 42), 0);

    /* shared anonymous memory is just memory within one task */
    p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    p[5] = 'q';
    CHECK(p[5] == 'q' && p[6] == 0);
    CHECK(mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0) != MAP_FAILED);
    return guest_end();
}
