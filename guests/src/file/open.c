/* open, openat, openat2: flags, errors in their order, the lowest free descriptor.
 * man 2 open, man 2 openat2, man 7 path_resolution */
#include "guest.h"
#include <linux/openat2.h>

static long openat2(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve, size_t size)
{
    struct open_how how[2] = { { .flags = flags, .mode = mode, .resolve = resolve } };
    return syscall(SYS_openat2, dir, path, how, size);
}

int main(void)
{
    const size_t size = sizeof(struct open_how);
    char longname[300], back[8];
    struct stat st;
    guest_start();
    umask(022);
    WANT(open("f", O_RDWR | O_CREAT | O_EXCL, 0666), 3);
    FAILS(open("f", O_RDWR | O_CREAT | O_EXCL, 0666), EEXIST);
    WANT(stat("f", &st), 0);
    WANT(st.st_mode, S_IFREG | 0644);
    WANT(write(3, "hello", 5), 5);
    WANT(open("f", O_RDONLY), 4);
    FAILS(write(4, "x", 1), EBADF);
    WANT(open("f", O_WRONLY), 5);
    FAILS(read(5, back, 1), EBADF);
    WANT(close(4), 0);
    FAILS(close(4), EBADF);
    WANT(open("f", O_WRONLY | O_APPEND), 4);
    WANT(lseek(4, 0, SEEK_SET), 0);
    WANT(write(4, "!", 1), 1);
    WANT(lseek(4, 0, SEEK_CUR), 6);
    WANT(open("f", O_WRONLY | O_TRUNC), 6);
    WANT(fstat(3, &st), 0);
    WANT(st.st_size, 0);
    WANT(fcntl(4, F_GETFL) & ~O_LARGEFILE, O_WRONLY | O_APPEND);

    WANT(mkdir("d", 0777), 0);
    FAILS(open("nope", O_RDONLY), ENOENT);
    FAILS(open("", O_RDONLY), ENOENT);
    FAILS(open("f/x", O_RDONLY), ENOTDIR);
    FAILS(open("f/", O_RDONLY), ENOTDIR);
    FAILS(open("d", O_WRONLY), EISDIR);
    FAILS(open("d", O_RDWR | O_CREAT, 0600), EISDIR);
    FAILS(open("new/", O_RDWR | O_CREAT, 0600), EISDIR);
    FAILS(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
    memset(longname, 'n', sizeof longname);
    longname[256] = 0;
    FAILS(open(longname, O_RDONLY), ENAMETOOLONG);
    longname[255] = 0;
    FAILS(open(longname, O_RDONLY), ENOENT);

    WANT(symlink("f", "l"), 0);
    WANT(symlink("loop", "loop"), 0);
    WANT(symlink("born", "dangling"), 0);
    FAILS(open("l", O_RDONLY | O_NOFOLLOW), ELOOP);
    FAILS(open("loop", O_RDONLY), ELOOP);
    FAILS(open("dangling", O_RDONLY), ENOENT);
    FAILS(open("dangling", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
    WANT(open("dangling", O_RDWR | O_CREAT, 0600), 7);
    WANT(stat("born", &st), 0);
    WANT(open("l", O_PATH | O_NOFOLLOW), 8);
    WANT(fstat(8, &st), 0);
    CHECK(S_ISLNK(st.st_mode));
    FAILS(read(8, back, 1), EBADF);

    WANT(open("d", O_RDONLY | O_DIRECTORY), 9);
    FAILS(read(9, back, 1), EISDIR);
    WANT(openat(9, "inside", O_RDWR | O_CREAT, 0600), 10);
    WANT(openat(9, "../f", O_RDONLY), 11);
    FAILS(openat(99, "f", O_RDONLY), EBADF);
    FAILS(openat(11, "f", O_RDONLY), ENOTDIR);
    CHECK(stat("d/inside", &st) == 0);
    /* a file without a name, linked in later */
    long anonymous = open("d", O_TMPFILE | O_RDWR, 0600);
    if (anonymous >= 0)
        CHECK(fstat((int)anonymous, &st) == 0 && st.st_nlink == 0);
    else
        CHECK(errno == EOPNOTSUPP);
    close((int)anonymous);

    WANT(openat2(AT_FDCWD, "f", O_RDONLY, 0, 0, size), 12);
    FAILS(openat2(AT_FDCWD, "f", O_RDONLY, 0600, 0, size), EINVAL);
    FAILS(openat2(AT_FDCWD, "f", O_RDONLY, 0, 0, size - 8), EINVAL);
    WANT(openat2(AT_FDCWD, "f", O_RDONLY, 0, 0, size + 8), 13);
    FAILS(openat2(AT_FDCWD, "f", 1UL << 40, 0, 0, size), EINVAL);
    FAILS(openat2(AT_FDCWD, "f", O_RDONLY, 0, 1UL << 40, size), EINVAL);
    FAILS(openat2(9, "../f", O_RDONLY, 0, RESOLVE_BENEATH, size), EXDEV);
    FAILS(openat2(9, "/f", O_RDONLY, 0, RESOLVE_BENEATH, size), EXDEV);
    WANT(openat2(9, "inside", O_RDONLY, 0, RESOLVE_BENEATH, size), 14);
    FAILS(openat2(AT_FDCWD, "l", O_RDONLY, 0, RESOLVE_NO_SYMLINKS, size), ELOOP);
    WANT(openat2(9, "/../inside", O_RDONLY, 0, RESOLVE_IN_ROOT, size), 15);
    FAILS(openat2(9, "/../f", O_RDONLY, 0, RESOLVE_IN_ROOT, size), ENOENT);
    return guest_end();
}
