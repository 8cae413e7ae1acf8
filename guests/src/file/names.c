/* Names: link, symlink, readlink, rename and its flags, unlink of an open file.
 * man 2 link, man 2 symlink, man 2 rename, man 2 unlink */
#include "guest.h"
#include <linux/fs.h>

static long rename_with(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    return syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

int main(void)
{
    char back[64] = { 0 };
    struct stat st, other;
    guest_start();
    put_file("a", "aaa", 3);
    put_file("b", "bb", 2);
    WANT(mkdir("d", 0755), 0);
    WANT(mkdir("e", 0755), 0);
    put_file("e/x", "x", 1);

    WANT(link("a", "hard"), 0);
    WANT(stat("a", &st), 0);
    WANT(st.st_nlink, 2);
    WANT(stat("hard", &other), 0);
    CHECK(st.st_ino == other.st_ino);
    FAILS(link("a", "b"), EEXIST);
    FAILS(link("nope", "c"), ENOENT);
    FAILS(link("d", "dd"), EPERM);
    FAILS(link("a", "nope/c"), ENOENT);
    WANT(symlink("a", "soft"), 0);
    WANT(linkat(AT_FDCWD, "soft", AT_FDCWD, "softhard", 0), 0);
    WANT(lstat("softhard", &other), 0);
    CHECK(S_ISLNK(other.st_mode) && other.st_nlink == 2);
    WANT(linkat(AT_FDCWD, "soft", AT_FDCWD, "through", AT_SYMLINK_FOLLOW), 0);
    WANT(lstat("through", &other), 0);
    CHECK(other.st_ino == st.st_ino);
    WANT(unlink("through"), 0);
    FAILS(linkat(AT_FDCWD, "a", AT_FDCWD, "z", 0x8000), EINVAL);

    FAILS(symlink("", "empty"), ENOENT);
    FAILS(symlink("a", "soft"), EEXIST);
    WANT(readlink("soft", back, sizeof back), 1);
    WANT(symlink("some/where/else", "long"), 0);
    WANT(readlink("long", back, 4), 4);
    CHECK(memcmp(back, "some", 4) == 0);
    FAILS(readlink("a", back, sizeof back), EINVAL);
    FAILS(readlink("nope", back, sizeof back), ENOENT);
    FAILS(syscall(SYS_readlinkat, AT_FDCWD, "long", back, 0), EINVAL);
    FAILS(syscall(SYS_readlinkat, AT_FDCWD, "long", back, -1), EINVAL);

    WANT(rename("a", "c"), 0);
    FAILS(stat("a", &other), ENOENT);
    WANT(rename("c", "b"), 0);
    WANT(stat("b", &other), 0);
    WANT(other.st_size, 3);
    WANT(rename("b", "hard"), 0);           /* two names of one file: nothing happens */
    WANT(access("b", F_OK), 0);
    WANT(access("hard", F_OK), 0);
    FAILS(rename("nope", "x"), ENOENT);
    FAILS(rename("b", "d"), EISDIR);
    FAILS(rename("d", "b"), ENOTDIR);
    FAILS(rename("d", "e"), ENOTEMPTY);
    FAILS(rename("d", "d/inside"), EINVAL);
    FAILS(rename("d/.", "q"), EBUSY);
    FAILS(rename("b", "nope/b"), ENOENT);
    WANT(rename("e", "d"), 0);
    WANT(access("d/x", F_OK), 0);
    FAILS(access("e", F_OK), ENOENT);
    FAILS(rename_with(AT_FDCWD, "b", AT_FDCWD, "hard", RENAME_NOREPLACE), EEXIST);
    WANT(rename_with(AT_FDCWD, "b", AT_FDCWD, "fresh", RENAME_NOREPLACE), 0);
    WANT(rename_with(AT_FDCWD, "fresh", AT_FDCWD, "d", RENAME_EXCHANGE), 0);
    WANT(stat("fresh/x", &other), 0);
    WANT(stat("d", &other), 0);
    CHECK(S_ISREG(other.st_mode));
    FAILS(rename_with(AT_FDCWD, "d", AT_FDCWD, "nope", RENAME_EXCHANGE), ENOENT);
    FAILS(rename_with(AT_FDCWD, "d", AT_FDCWD, "y", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
    WANT(rename("soft", "moved"), 0);
    WANT(readlink("moved", back, sizeof back), 1);
    int dir = open("fresh", O_RDONLY);
    WANT(renameat(dir, "x", AT_FDCWD, "out"), 0);
    WANT(access("out", F_OK), 0);

    /* an unlinked file lives on while it is open */
    int fd = open("out", O_RDWR);
    WANT(unlink("out"), 0);
    FAILS(unlink("out"), ENOENT);
    WANT(fstat(fd, &st), 0);
    WANT(st.st_nlink, 0);
    WANT(pwrite(fd, "still", 5, 0), 5);
    WANT(pread(fd, back, 8, 0), 5);
    FAILS(unlink("fresh"), EISDIR);
    FAILS(unlink("d/"), ENOTDIR);
    FAILS(unlinkat(AT_FDCWD, "d", 0x4000), EINVAL);
    FAILS(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR), ENOTDIR);
    return guest_end();
}
