/* The stat family, statx, access, statfs.  man 2 stat, man 2 statx, man 2 access, man 2 statfs */
#include "guest.h"
#include <sys/statfs.h>
#include <sys/sysmacros.h>

int main(void)
{
    struct stat st, other;
    struct statx stx;
    struct statfs fs;
    guest_start();
    umask(0);
    put_file("f", "12345", 5);
    WANT(chmod("f", 0640), 0);
    WANT(symlink("f", "l"), 0);
    WANT(mkdir("d", 0751), 0);
    WANT(stat("f", &st), 0);
    WANT(st.st_mode, S_IFREG | 0640);
    WANT(st.st_size, 5);
    WANT(st.st_nlink, 1);
    CHECK(st.st_uid == geteuid() && st.st_gid == getegid());
    CHECK(st.st_ino != 0 && st.st_blksize >= 512);
    CHECK(st.st_blocks >= 0 && st.st_blocks <= 128);
    WANT(stat("l", &other), 0);
    CHECK(other.st_ino == st.st_ino && other.st_dev == st.st_dev);
    WANT(lstat("l", &other), 0);
    CHECK(S_ISLNK(other.st_mode) && other.st_size == 1 && other.st_ino != st.st_ino);
    WANT(stat("d", &other), 0);
    WANT(other.st_mode, S_IFDIR | 0751);
    FAILS(stat("f/", &other), ENOTDIR);
    WANT(stat("d/./../d/", &other), 0);
    FAILS(stat("nope", &other), ENOENT);
    int fd = open("f", O_RDONLY), dir = open("d", O_RDONLY);
    WANT(fstat(fd, &other), 0);
    CHECK(other.st_ino == st.st_ino && other.st_mtim.tv_sec == st.st_mtim.tv_sec);
    FAILS(fstat(-1, &other), EBADF);
    WANT(fstatat(dir, "../l", &other, AT_SYMLINK_NOFOLLOW), 0);
    CHECK(S_ISLNK(other.st_mode));
    WANT(fstatat(fd, "", &other, AT_EMPTY_PATH), 0);
    FAILS(fstatat(fd, "", &other, 0), ENOENT);
    FAILS(fstatat(fd, "x", &other, 0), ENOTDIR);
    FAILS(syscall(SYS_newfstatat, AT_FDCWD, "f", &other, 0x40000000), EINVAL);

    WANT(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &stx), 0);
    CHECK((stx.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
    CHECK(stx.stx_mode == (S_IFREG | 0640) && stx.stx_size == 5 && stx.stx_nlink == 1);
    CHECK(stx.stx_ino == st.st_ino && makedev(stx.stx_dev_major, stx.stx_dev_minor) == st.st_dev);
    CHECK(stx.stx_mtime.tv_sec == st.st_mtim.tv_sec && stx.stx_mtime.tv_nsec == st.st_mtim.tv_nsec);
    WANT(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &stx), 0);
    WANT(stx.stx_size, 5);
    FAILS(statx(fd, "", 0, STATX_SIZE, &stx), ENOENT);
    FAILS(syscall(SYS_statx, AT_FDCWD, "f", 0, 0x80000000U, &stx), EINVAL);
    FAILS(syscall(SYS_statx, AT_FDCWD, "f", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, STATX_SIZE, &stx), EINVAL);

    WANT(access("f", F_OK), 0);
    WANT(access("f", R_OK | W_OK), 0);
    FAILS(access("f", X_OK), EACCES);
    WANT(access("d", X_OK), 0);
    FAILS(access("nope", F_OK), ENOENT);
    FAILS(syscall(SYS_faccessat, AT_FDCWD, "f", 16), EINVAL);
    WANT(symlink("gone", "dangling"), 0);
    FAILS(access("dangling", F_OK), ENOENT);
    WANT(syscall(SYS_faccessat2, AT_FDCWD, "dangling", F_OK, AT_SYMLINK_NOFOLLOW), 0);

    WANT(stat("/dev/null", &st), 0);
    CHECK(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
    WANT(stat("/", &st), 0);
    CHECK(S_ISDIR(st.st_mode) && st.st_nlink >= 1);
    WANT(stat("/..", &other), 0);
    CHECK(st.st_ino == other.st_ino && st.st_dev == other.st_dev);
    WANT(fstat(0, &st), 0);

    WANT(statfs(".", &fs), 0);
    CHECK(fs.f_bsize >= 512 && fs.f_namelen == 255 && fs.f_bfree <= fs.f_blocks);
    WANT(fstatfs(fd, &fs), 0);
    WANT(statfs("/proc", &fs), 0);
    WANT(fs.f_type, 0x9fa0);
    FAILS(statfs("nope", &fs), ENOENT);
    return guest_end();
}
