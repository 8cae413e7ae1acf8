/* sendfile, copy_file_range, splice, tee, vmsplice: bytes from file to file without a buffer.
 * man 2 sendfile, man 2 copy_file_range, man 2 splice, man 2 tee */
#include "guest.h"
#include <sys/sendfile.h>

int main(void)
{
    char back[32] = { 0 };
    int fds[2], more[2];
    guest_start();
    put_file("from", "0123456789", 10);
    int in = open("from", O_RDONLY), out = open("to", O_RDWR | O_CREAT, 0600);

    off_t at = 2;
    WANT(sendfile(out, in, &at, 5), 5);
    WANT(at, 7);
    WANT(lseek(in, 0, SEEK_CUR), 0);
    WANT(sendfile(out, in, NULL, 100), 10);
    WANT(lseek(in, 0, SEEK_CUR), 10);
    WANT(sendfile(out, in, NULL, 100), 0);
    WANT(pread(out, back, 32, 0), 15);
    CHECK(memcmp(back, "234560123456789", 15) == 0);
    FAILS(sendfile(in, out, NULL, 1), EBADF);
    FAILS(sendfile(out, -1, NULL, 1), EBADF);
    at = -1;
    FAILS(sendfile(out, in, &at, 1), EINVAL);

    off_t a = 8, b = 1;
    WANT(copy_file_range(in, &a, out, &b, 100, 0), 2);
    CHECK(a == 10 && b == 3);
    WANT(pread(out, back, 4, 0), 4);
    CHECK(memcmp(back, "2895", 4) == 0);
    FAILS(copy_file_range(in, &a, out, &b, 1, 1), EINVAL);
    FAILS(copy_file_range(out, NULL, in, NULL, 1, 0), EBADF);
    a = 0, b = 4;
    FAILS(copy_file_range(out, &a, out, &b, 8, 0), EINVAL);
    int dir = open(".", O_RDONLY);
    FAILS(copy_file_range(dir, NULL, out, NULL, 1, 0), EISDIR);

    WANT(pipe(fds), 0);
    WANT(pipe(more), 0);
    a = 1;
    WANT(splice(in, &a, fds[1], NULL, 4, 0), 4);
    WANT(a, 5);
    WANT(tee(fds[0], more[1], 100, 0), 4);
    b = 0;
    WANT(splice(fds[0], NULL, out, &b, 3, 0), 3);
    WANT(pread(out, back, 4, 0), 4);
    CHECK(memcmp(back, "1235", 4) == 0);
    WANT(read(fds[0], back, 8), 1);
    WANT(read(more[0], back, 8), 4);
    CHECK(memcmp(back, "1234", 4) == 0);
    FAILS(splice(in, NULL, out, NULL, 1, 0), EINVAL);
    FAILS(splice(fds[0], &a, out, NULL, 1, 0), ESPIPE);
    FAILS(splice(fds[0], NULL, out, NULL, 1, SPLICE_F_NONBLOCK), EAGAIN);
    struct iovec part = { "vm", 2 };
    WANT(vmsplice(fds[1], &part, 1, 0), 2);
    WANT(read(fds[0], back, 8), 2);
    return guest_end();
}
