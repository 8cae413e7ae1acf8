/* chmod, chown, utimens, truncate, fallocate, xattr.
 * man 2 chmod, man 2 chown, man 2 utimensat, man 2 truncate, man 2 fallocate, man 7 xattr */
#include "guest.h"
#include <sys/time.h>
#include <sys/xattr.h>

int main(void)
{
    struct stat st;
    char back[64];
    guest_start();
    put_file("f", "0123456789", 10);
    WANT(symlink("f", "l"), 0);
    int fd = open("f", O_RDWR);

    WANT(chmod("f", 0600), 0);
    WANT(fchmod(fd, 04751), 0);
    WANT(stat("f", &st), 0);
    WANT(st.st_mode & 07777, 04751);
    WANT(fchmodat(AT_FDCWD, "l", 0640, 0), 0);
    WANT(stat("f", &st), 0);
    WANT(st.st_mode & 07777, 0640);
    FAILS(chmod("nope", 0600), ENOENT);
    FAILS(fchmod(-1, 0600), EBADF);

    WANT(chown("f", getuid(), getgid()), 0);
    WANT(fchown(fd, -1, -1), 0);
    WANT(lchown("l", getuid(), -1), 0);
    WANT(fchownat(fd, "", getuid(), getgid(), AT_EMPTY_PATH), 0);
    FAILS(fchownat(fd, "", getuid(), getgid(), 0), ENOENT);
    FAILS(chown("nope", 0, 0), ENOENT);
    WANT(chmod("f", 06755), 0);
    WANT(chown("f", getuid(), getgid()), 0);
    WANT(stat("f", &st), 0);
    WANT(st.st_mode & 07777, 0755);         /* a change of owner takes set-user-ID away */

    struct timespec times[2] = { { 1000, 5 }, { 2000, 999999999 } };
    WANT(utimensat(AT_FDCWD, "f", times, 0), 0);
    WANT(stat("f", &st), 0);
    CHECK(st.st_atim.tv_sec == 1000 && st.st_atim.tv_nsec == 5);
    CHECK(st.st_mtim.tv_sec == 2000 && st.st_mtim.tv_nsec == 999999999);
    CHECK(st.st_ctim.tv_sec > 1600000000);
    times[0].tv_nsec = UTIME_OMIT;
    times[1] = (struct timespec) { 3000, 0 };
    WANT(futimens(fd, times), 0);
    WANT(stat("f", &st), 0);
    CHECK(st.st_atim.tv_sec == 1000 && st.st_mtim.tv_sec == 3000);
    times[1].tv_nsec = UTIME_NOW;
    WANT(futimens(fd, times), 0);
    WANT(stat("f", &st), 0);
    CHECK(st.st_mtim.tv_sec > 1600000000);
    times[1].tv_nsec = 1000000000;
    times[0].tv_nsec = 0;
    FAILS(utimensat(AT_FDCWD, "f", times, 0), EINVAL);
    times[1].tv_nsec = 0;
    WANT(utimensat(AT_FDCWD, "l", times, AT_SYMLINK_NOFOLLOW), 0);
    WANT(lstat("l", &st), 0);
    WANT(st.st_mtim.tv_sec, 3000);
    FAILS(utimensat(AT_FDCWD, "nope", NULL, 0), ENOENT);
    WANT(utimensat(AT_FDCWD, "f", NULL, 0), 0);
    struct timeval old[2] = { { 5, 6 }, { 7, 8 } };
    WANT(utimes("f", old), 0);
    WANT(stat("f", &st), 0);
    CHECK(st.st_atim.tv_nsec == 6000 && st.st_mtim.tv_sec == 7);

    WANT(ftruncate(fd, 4), 0);
    WANT(truncate("f", 8), 0);
    WANT(pread(fd, back, 16, 0), 8);
    CHECK(memcmp(back, "0123\0\0\0\0", 8) == 0);
    FAILS(truncate("f", -1), EINVAL);
    FAILS(truncate(".", 0), EISDIR);
    FAILS(truncate("nope", 0), ENOENT);
    int ro = open("f", O_RDONLY);
    FAILS(ftruncate(ro, 0), EINVAL);
    FAILS(ftruncate(-1, 0), EBADF);
    WANT(fallocate(fd, 0, 0, 100), 0);
    WANT(fstat(fd, &st), 0);
    WANT(st.st_size, 100);
    WANT(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 5000), 0);
    WANT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1, 2), 0);
    WANT(pread(fd, back, 5, 0), 5);
    CHECK(memcmp(back, "0\0\0003\0", 5) == 0);
    WANT(fstat(fd, &st), 0);
    WANT(st.st_size, 100);
    FAILS(fallocate(fd, 0, 0, 0), EINVAL);
    FAILS(fallocate(fd, 0, -1, 10), EINVAL);
    FAILS(fallocate(ro, 0, 0, 10), EBADF);
    FAILS(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10), EOPNOTSUPP);
    WANT(syscall(SYS_fadvise64, fd, 0, 0, POSIX_FADV_SEQUENTIAL), 0);
    FAILS(syscall(SYS_fadvise64, fd, 0, 0, 99), EINVAL);

    WANT(setxattr("f", "user.note", "value", 5, 0), 0);
    WANT(getxattr("f", "user.note", back, sizeof back), 5);
    CHECK(memcmp(back, "value", 5) == 0);
    WANT(getxattr("l", "user.note", NULL, 0), 5);
    FAILS(getxattr("f", "user.note", back, 2), ERANGE);
    FAILS(getxattr("f", "user.other", back, sizeof back), ENODATA);
    FAILS(setxattr("f", "user.note", "x", 1, XATTR_CREATE), EEXIST);
    FAILS(setxattr("f", "user.new", "x", 1, XATTR_REPLACE), ENODATA);
    WANT(fsetxattr(fd, "user.note", "longer value", 12, XATTR_REPLACE), 0);
    WANT(fgetxattr(fd, "user.note", back, sizeof back), 12);
    long names = flistxattr(fd, back, sizeof back);
    int there = 0;
    for (char *p = back; p < back + names; p += strlen(p) + 1)
        there += strcmp(p, "user.note") == 0;
    WANT(there, 1);
    FAILS(setxattr("f", "nonsense", "x", 1, 0), EOPNOTSUPP);
    FAILS(lsetxattr("l", "user.note", "x", 1, 0), EPERM);
    WANT(removexattr("f", "user.note"), 0);
    FAILS(removexattr("f", "user.note"), ENODATA);
    return guest_end();
}
