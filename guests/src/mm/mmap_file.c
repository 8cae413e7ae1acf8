/* File mappings, private and shared: what reaches the file, what does not, and what lies beyond its end.
 * man 2 mmap, man 2 msync, man 2 ftruncate */
#include "guest.h"

int main(void)
{
    char bytes[3 * PAGE / 2], back[16] = { 0 };
    guest_start();
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)('A' + i % 23);
    put_file("f", bytes, sizeof bytes);
    int fd = open("f", O_RDWR);

    char *private = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    char *shared = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MAPPED(private);
    MAPPED(shared);
    CHECK(memcmp(private, bytes, sizeof bytes) == 0);
    CHECK(memcmp(shared, bytes, sizeof bytes) == 0);
    CHECK(shared[sizeof bytes] == 0 && shared[2 * PAGE - 1] == 0);

    /* a private store stays here, a shared one reaches the file */
    private[0] = 'p';
    shared[1] = 's';
    WANT(pread(fd, back, 4, 0), 4);
    CHECK(back[0] == 'A' && back[1] == 's');
    CHECK(shared[0] == 'A' && private[0] == 'p');
    WANT(msync(shared, 2 * PAGE, MS_SYNC), 0);
    FAILS(msync(shared + 1, PAGE, MS_SYNC), EINVAL);
    FAILS(msync(shared, PAGE, MS_SYNC | MS_ASYNC), EINVAL);

    /* write(2) is seen through the shared mapping, and by private pages not yet copied */
    WANT(pwrite(fd, "WXYZ", 4, PAGE + 8), 4);
    CHECK(memcmp(shared + PAGE + 8, "WXYZ", 4) == 0);
    /* bytes stored past the end stay in the page, not in the file */
    shared[sizeof bytes + 3] = 'n';
    struct stat st;
    WANT(fstat(fd, &st), 0);
    CHECK(st.st_size == (off_t)sizeof bytes);

    /* two mappings of one page are one page */
    char *again = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, PAGE);
    MAPPED(again);
    shared[PAGE + 100] = '!';
    CHECK(again[100] == '!');
    WANT(munmap(again, PAGE), 0);

    /* the mapping outlives its descriptor and its name */
    WANT(close(fd), 0);
    WANT(unlink("f"), 0);
    CHECK(shared[1] == 's' && shared[PAGE + 100] == '!');
    WANT(munmap(shared, 2 * PAGE), 0);
    CHECK(private[0] == 'p');
    WANT(munmap(private, 2 * PAGE), 0);

    /* a whole page past the end of the file: the kernel itself gets EFAULT there */
    put_file("g", "short", 5);
    fd = open("g", O_RDWR);
    shared = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MAPPED(shared);
    CHECK(readable(shared + PAGE - 1) && !readable(shared + PAGE));
    WANT(ftruncate(fd, PAGE + 1), 0);
    CHECK(readable(shared + PAGE) && shared[PAGE] == 0);
    shared[PAGE] = 'e';
    WANT(pread(fd, back, 16, PAGE), 1);
    CHECK(back[0] == 'e');
    WANT(ftruncate(fd, 2), 0);
    CHECK(!readable(shared + PAGE) && shared[2] == 0 && shared[1] == 'h');
    WANT(ftruncate(fd, 5), 0);
    CHECK(shared[2] == 0 && shared[4] == 0);

    /* what the descriptor does not allow */
    int ro = open("g", O_RDONLY), wo = open("g", O_WRONLY);
    FAILS(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ro, 0), EACCES);
    MAPPED(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, ro, 0));
    FAILS(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, wo, 0), EACCES);
    FAILS(mmap(NULL, PAGE, PROT_WRITE, MAP_PRIVATE, wo, 0), EACCES);
    char *look = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, ro, 0);
    FAILS(mprotect(look, PAGE, PROT_READ | PROT_WRITE), EACCES);
    FAILS(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 1), EINVAL);
    int dir = open(".", O_RDONLY | O_DIRECTORY);
    FAILS(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, dir, 0), ENODEV);
    int zero = open("/dev/zero", O_RDWR);
    char *zeroes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
    MAPPED(zeroes);
    CHECK(zeroes[77] == 0);
    return guest_end();
}
