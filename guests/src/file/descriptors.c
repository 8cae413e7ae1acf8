/* dup, fcntl, close_range, locks on files, flock, the limit of descriptors.
 * man 2 dup, man 2 fcntl, man 2 flock, man 2 close_range */
#include "guest.h"
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

int main(void)
{
    char back[8];
    guest_start();
    put_file("f", "0123456789", 10);
    int fd = open("f", O_RDWR);
    WANT(fd, 3);
    WANT(dup(fd), 4);
    WANT(dup2(fd, 9), 9);
    WANT(dup2(fd, fd), 3);
    FAILS(dup3(fd, fd, 0), EINVAL);
    WANT(dup3(fd, 8, O_CLOEXEC), 8);
    FAILS(dup3(fd, 8, O_APPEND), EINVAL);
    FAILS(dup(77), EBADF);
    FAILS(dup2(77, 5), EBADF);
    FAILS(dup2(fd, -1), EBADF);
    /* copies share the position and the status flags, not the descriptor flags */
    WANT(read(4, back, 3), 3);
    WANT(lseek(9, 0, SEEK_CUR), 3);
    WANT(fcntl(8, F_GETFD), FD_CLOEXEC);
    WANT(fcntl(9, F_GETFD), 0);
    WANT(fcntl(9, F_SETFD, FD_CLOEXEC), 0);
    WANT(fcntl(fd, F_GETFD), 0);
    WANT(fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK), 0);
    WANT(fcntl(4, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_RDWR | O_APPEND | O_NONBLOCK);
    WANT(fcntl(fd, F_SETFL, 0), 0);
    WANT(fcntl(fd, F_DUPFD, 20), 20);
    WANT(fcntl(fd, F_DUPFD_CLOEXEC, 20), 21);
    WANT(fcntl(21, F_GETFD), FD_CLOEXEC);
    FAILS(fcntl(fd, F_DUPFD, -1), EINVAL);
    FAILS(fcntl(fd, 9999, 0), EINVAL);
    FAILS(fcntl(77, F_GETFD), EBADF);

    struct rlimit limit = { 32, 32 };
    WANT(setrlimit(RLIMIT_NOFILE, &limit), 0);
    FAILS(fcntl(fd, F_DUPFD, 32), EINVAL);
    FAILS(dup2(fd, 32), EBADF);
    int last = -1, n;
    while ((n = dup(fd)) >= 0)
        last = n;
    CHECK(errno == EMFILE);
    WANT(last, 31);
    FAILS(open("f", O_RDONLY), EMFILE);
    WANT(syscall(SYS_close_range, 10, 31, 0), 0);
    FAILS(fcntl(31, F_GETFD), EBADF);
    WANT(syscall(SYS_close_range, 4, 5, 1 << 2), 0);        /* CLOSE_RANGE_CLOEXEC */
    WANT(fcntl(4, F_GETFD), FD_CLOEXEC);
    FAILS(syscall(SYS_close_range, 6, 5, 0), EINVAL);
    FAILS(syscall(SYS_close_range, 5, 6, 64), EINVAL);
    WANT(syscall(SYS_close_range, 4, ~0U, 0), 0);

    /* locks of one process never conflict with its own */
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2, .l_len = 4 };
    WANT(fcntl(fd, F_SETLK, &lock), 0);
    lock = (struct flock) { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    WANT(fcntl(fd, F_GETLK, &lock), 0);
    WANT(lock.l_type, F_UNLCK);
    WANT(fcntl(fd, F_SETLKW, &lock), 0);
    lock.l_type = 77;
    FAILS(fcntl(fd, F_SETLK, &lock), EINVAL);
    lock = (struct flock) { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = -1 };
    FAILS(fcntl(fd, F_SETLK, &lock), EINVAL);
    int ro = open("f", O_RDONLY);
    lock = (struct flock) { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    FAILS(fcntl(ro, F_SETLK, &lock), EBADF);
    /* open file description locks conflict between descriptions */
    lock = (struct flock) { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 5 };
    WANT(fcntl(fd, F_OFD_SETLK, &lock), 0);
    lock = (struct flock) { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 4 };
    FAILS(fcntl(ro, F_OFD_SETLK, &lock), EAGAIN);
    lock.l_start = 5;
    WANT(fcntl(ro, F_OFD_SETLK, &lock), 0);

    WANT(flock(fd, LOCK_EX), 0);
    FAILS(flock(ro, LOCK_SH | LOCK_NB), EAGAIN);
    WANT(flock(fd, LOCK_SH), 0);
    WANT(flock(ro, LOCK_SH | LOCK_NB), 0);
    FAILS(flock(ro, LOCK_EX | LOCK_NB), EAGAIN);
    WANT(close(fd), 0);
    WANT(flock(ro, LOCK_EX | LOCK_NB), 0);
    WANT(flock(ro, LOCK_UN), 0);
    FAILS(flock(ro, 0), EINVAL);
    FAILS(flock(77, LOCK_SH), EBADF);

    int available = -1;
    WANT(ioctl(ro, FIONREAD, &available), 0);
    WANT(available, 10);
    FAILS(ioctl(ro, TCGETS, back), ENOTTY);
    FAILS(ioctl(77, FIONREAD, &available), EBADF);
    WANT(ioctl(ro, FIOCLEX), 0);
    WANT(fcntl(ro, F_GETFD), FD_CLOEXEC);
    return guest_end();
}
