/* brk: the raw call returns the new break, or the old one when it can't.  man 2 brk, "C library/kernel differences" */
#include "guest.h"

static char *kernel_brk(void *to)
{
    return (char *)syscall(SYS_brk, to);
}

int main(void)
{
    guest_start();
    char *start = kernel_brk(NULL);
    CHECK(start != NULL);
    CHECK(kernel_brk(start + 3 * PAGE + 5) == start + 3 * PAGE + 5);
    CHECK(kernel_brk(NULL) == start + 3 * PAGE + 5);
    int sum = 0;
    for (size_t i = 0; i < 3 * PAGE + 5; i++)
        sum += start[i];
    CHECK(sum == 0);
    memset(start, 'b', 3 * PAGE);
    /* back and forth: what was given up comes back zeroed */
    char *page = (char *)(((uintptr_t)start + PAGE) & ~(PAGE - 1));
    CHECK(kernel_brk(page) == page);
    CHECK(!readable(page) && page[-1] == 'b');
    CHECK(kernel_brk(page + PAGE) == page + PAGE);
    CHECK(page[0] == 0 && page[PAGE - 1] == 0);
    /* below the start: refused, unchanged */
    CHECK(kernel_brk(start - PAGE) == page + PAGE);
    CHECK(kernel_brk((void *)PAGE) == page + PAGE);
    CHECK(kernel_brk((void *)-PAGE) == page + PAGE);
    /* a mapping in the way */
    char *wall = page + 4 * PAGE;
    CHECK(mmap(wall, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == wall);
    CHECK(kernel_brk(wall + PAGE) == page + PAGE);
    CHECK(kernel_brk(page + 2 * PAGE) == page + 2 * PAGE);
    CHECK(!readable(wall - PAGE) && readable(wall));
    return guest_end();
}
