/* Directories: getdents64, mkdir, rmdir, chdir, getcwd, chroot, umask.
 * man 2 getdents, man 2 mkdir, man 2 getcwd, man 2 chroot */
#include "guest.h"
#include <dirent.h>
#include <sys/sysmacros.h>

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(const char *path)
{
    char *names[64];
    int count = 0;
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir)) && count < 64; count++) {
        char line[300];
        snprintf(line, sizeof line, "%s%s", e->d_name,
                 e->d_type == DT_DIR ? "/" : e->d_type == DT_LNK ? "@" : e->d_type == DT_REG ? "" : "?");
        names[count] = strdup(line);
    }
    closedir(dir);
    qsort(names, (size_t)count, sizeof *names, by_name);
    printf("%s:", path);
    for (int i = 0; i < count; i++)
        printf(" %s", names[i]);
    putchar('\n');
}

int main(void)
{
    struct stat st;
    char path[4096], start[4096], *p;
    guest_start();
    CHECK(getcwd(start, sizeof start) == start && start[0] == '/');
    umask(027);
    WANT(umask(022), 027);
    WANT(mkdir("d", 0777), 0);
    WANT(stat("d", &st), 0);
    WANT(st.st_mode, S_IFDIR | 0755);
    FAILS(mkdir("d", 0777), EEXIST);
    FAILS(mkdir("a/b", 0777), ENOENT);
    WANT(mkdir("d/sub/", 0700), 0);
    put_file("d/file", "x", 1);
    FAILS(mkdir("d/file/x", 0700), ENOTDIR);
    WANT(symlink("file", "d/link"), 0);
    list("d");
    list("d/sub");
    WANT(stat("d", &st), 0);
    FAILS(rmdir("d"), ENOTEMPTY);
    FAILS(rmdir("d/file"), ENOTDIR);
    FAILS(rmdir("d/sub/."), EINVAL);
    FAILS(rmdir("d/sub/.."), ENOTEMPTY);
    FAILS(rmdir("nope"), ENOENT);
    FAILS(unlink("d/sub"), EISDIR);
    WANT(unlinkat(AT_FDCWD, "d/sub", AT_REMOVEDIR), 0);
    WANT(unlink("d/link"), 0);
    list("d");

    /* the raw call: record layout, a buffer too small, the end, and again from the start */
    int fd = open("d", O_RDONLY | O_DIRECTORY);
    _Alignas(8) char buffer[1024];
    FAILS(syscall(SYS_getdents64, fd, buffer, 8), EINVAL);
    long n = syscall(SYS_getdents64, fd, buffer, sizeof buffer);
    int records = 0, dots = 0;
    for (long at = 0; at < n;) {
        struct dirent *e = (struct dirent *)(buffer + at);
        CHECK(e->d_reclen % 8 == 0 && e->d_reclen > strlen(e->d_name) + 19 && e->d_ino != 0);
        dots += e->d_name[0] == '.';
        records++;
        at += e->d_reclen;
    }
    WANT(records, 3);
    WANT(dots, 2);
    WANT(syscall(SYS_getdents64, fd, buffer, sizeof buffer), 0);
    WANT(lseek(fd, 0, SEEK_SET), 0);
    CHECK(syscall(SYS_getdents64, fd, buffer, sizeof buffer) == n);
    int file = open("d/file", O_RDONLY);
    FAILS(syscall(SYS_getdents64, file, buffer, sizeof buffer), ENOTDIR);

    WANT(chdir("d"), 0);
    WANT(access("file", F_OK), 0);
    CHECK(getcwd(path, sizeof path) && strcmp(path + strlen(start), "/d") == 0);
    CHECK(syscall(SYS_getcwd, path, sizeof path) == (long)strlen(path) + 1);
    FAILS(syscall(SYS_getcwd, path, 3), ERANGE);
    WANT(chdir(".."), 0);
    FAILS(chdir("d/file"), ENOTDIR);
    FAILS(chdir("nope"), ENOENT);
    WANT(fchdir(fd), 0);
    WANT(access("file", F_OK), 0);
    FAILS(fchdir(file), ENOTDIR);
    FAILS(fchdir(-1), EBADF);
    WANT(chdir("/../../.."), 0);
    CHECK(getcwd(path, sizeof path) && strcmp(path, "/") == 0);
    WANT(chdir(start), 0);

    /* a directory that is gone: the descriptor lives, nothing is in it */
    WANT(mkdir("gone", 0700), 0);
    WANT(chdir("gone"), 0);
    WANT(rmdir("../gone"), 0);
    FAILS(open("x", O_RDWR | O_CREAT, 0600), ENOENT);
    FAILS(syscall(SYS_getcwd, path, sizeof path), ENOENT);
    WANT(chdir(start), 0);

    /* chroot: dot-dot stops at the new root, absolute links start there; it needs a privilege */
    WANT(symlink("/file", "d/absolute"), 0);
    WANT(symlink("../../../file", "d/up"), 0);
    FAILS(chroot("nope"), ENOENT);
    FAILS(chroot("d/file"), ENOTDIR);
    if (chroot("d") == 0) {
        WANT(chdir("/"), 0);
        p = getcwd(path, sizeof path);
    } else {
        printf("chdir(\"/\") = %d\n", errno == EPERM ? chdir("d") : -1);
        p = strcpy(path, "/");
        unlink("absolute");
        unlink("up");
        if (symlink("file", "absolute") || symlink("file", "up"))
            p = NULL;
    }
    CHECK(p && strcmp(p, "/") == 0);
    WANT(access("absolute", F_OK), 0);
    WANT(access("up", F_OK), 0);
    return guest_end();
}
