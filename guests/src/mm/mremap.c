/* mremap: shrink, grow in place and by moving, to a fixed place, and what it refuses.  man 2 mremap */
#include "guest.h"

static char *fresh(size_t pages, char fill)
{
    char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(p, fill, pages * PAGE);
    return p;
}

int main(void)
{
    guest_start();
    char *room = fresh(32, 'r');
    WANT(munmap(room, 32 * PAGE), 0);
    char *p = mmap(room, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    memset(p, 'a', 4 * PAGE);
    p[3 * PAGE] = 'd';

    CHECK(mremap(p, 4 * PAGE, 2 * PAGE, 0) == p);
    CHECK(readable(p + 2 * PAGE - 1) && !readable(p + 2 * PAGE));
    /* room behind it: grows where it is, the new part reads zero */
    CHECK(mremap(p, 2 * PAGE, 6 * PAGE, 0) == p);
    CHECK(p[2 * PAGE - 1] == 'a' && p[2 * PAGE] == 0 && p[6 * PAGE - 1] == 0);
    /* no room, not allowed to move */
    MAPPED(mmap(p + 6 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    FAILS(mremap(p, 6 * PAGE, 8 * PAGE, 0), ENOMEM);
    p[0] = 'm';
    char *q = mremap(p, 6 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
    MAPPED(q);
    CHECK(q != p && q[0] == 'm' && q[PAGE] == 'a' && q[7 * PAGE] == 0);
    CHECK(!readable(p));

    /* to a place: what lies there goes */
    char *there = fresh(3, 't');
    CHECK(mremap(q, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, there) == there);
    CHECK(there[0] == 'm' && there[PAGE] == 'a' && there[2 * PAGE] == 't');
    CHECK(!readable(q) && readable(q + 2 * PAGE));
    FAILS(mremap(there, PAGE, PAGE, MREMAP_FIXED, room), EINVAL);
    FAILS(mremap(there, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, there + PAGE), EINVAL);
    FAILS(mremap(there + 1, PAGE, PAGE, 0), EINVAL);
    FAILS(mremap(there, PAGE, 0, MREMAP_MAYMOVE), EINVAL);
    FAILS(mremap(room + 20 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT);

    /* a shared file mapping moves with its file */
    put_file("f", "0123456789", 10);
    int fd = open("f", O_RDWR);
    char *s = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *t = mremap(s, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
    MAPPED(t);
    t[0] = 'T';
    char back = 0;
    WANT(pread(fd, &back, 1, 0), 1);
    CHECK(back == 'T' && !readable(t + PAGE));
    /* old size 0 on a shared mapping makes a second one */
    char *twin = mremap(t, 0, PAGE, MREMAP_MAYMOVE);
    MAPPED(twin);
    t[1] = 'W';
    CHECK(twin != t && twin[0] == 'T' && twin[1] == 'W');

    /* DONTUNMAP leaves an empty mapping behind */
    char *from = fresh(2, 'x');
    char *to = mremap(from, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
    MAPPED(to);
    CHECK(to != from && to[PAGE] == 'x' && from[PAGE] == 0);
    return guest_end();
}
