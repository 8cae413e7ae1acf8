/* What /proc tells of locks and of files that are in no directory.  man 5 proc (/proc/locks, /proc/pid/fdinfo) */
#include "guest.h"
#include <sys/file.h>
#include <sys/wait.h>

static char text[65536];

static const char *slurp(const char *path)
{
    int fd = open(path, O_RDONLY);
    ssize_t count, all = 0;
    while (fd >= 0 && (count = read(fd, text + all, sizeof text - 1 - (size_t)all)) > 0)
        all += count;
    text[all] = 0;
    close(fd);
    return text;
}

/* The lines with a number in them, without what differs from one Linux to the next: their own number, pid, device. */
static void tell(const char *path, const char *inode, int pid)
{
    int shown = 0;
    char *rest = (char *)slurp(path);
    for (char *line; (line = strsep(&rest, "\n"));) {
        char kind[16], advisory[16], access[16], place[32], first[32], last[32];
        long whose;
        char *after = strstr(line, ": ");
        if (!after || !strstr(line, inode))
            continue;
        if (sscanf(after + 2, "%15s %15s %15s %ld %31s %31s %31s", kind, advisory, access, &whose, place, first, last) != 7)
            continue;
        printf("%s %s %s, pid %s, %s to %s\n", kind, advisory, access,
               whose == pid ? "its own" : whose == -1 ? "none" : "another's", first, last);
        shown++;
    }
    printf("%d lines\n", shown);
}

static int lock(int fd, int cmd, int type, off_t start, off_t length)
{
    struct flock range = { .l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = length };
    return fcntl(fd, cmd, &range);
}

int main(void)
{
    char path[64], inode[32];
    struct stat status;
    guest_start();
    int fd = open("told.file", O_RDWR | O_CREAT | O_TRUNC, 0600), other = open("told.file", O_RDWR);
    unlink("told.file");
    fstat(fd, &status);
    snprintf(inode, sizeof inode, ":%lu ", (unsigned long)status.st_ino);
    tell("/proc/locks", inode, getpid());
    WANT(flock(fd, LOCK_SH), 0);
    tell("/proc/locks", inode, getpid());
    WANT(flock(fd, LOCK_EX), 0);
    tell("/proc/locks", inode, getpid());
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    tell(path, inode, getpid());
    WANT(flock(fd, LOCK_UN), 0);
    tell("/proc/locks", inode, getpid());
    WANT(lock(fd, F_SETLK, F_WRLCK, 10, 20), 0);
    tell("/proc/locks", inode, getpid());
    tell(path, inode, getpid());
    WANT(lock(fd, F_SETLK, F_UNLCK, 0, 0), 0);
    WANT(lock(fd, F_SETLK, F_RDLCK, 5, 0), 0);
    tell("/proc/locks", inode, getpid());
    WANT(lock(fd, F_SETLK, F_UNLCK, 0, 0), 0);
    WANT(lock(other, F_OFD_SETLK, F_WRLCK, 0, 1), 0);
    tell("/proc/locks", inode, getpid());
    tell(path, inode, getpid());
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", other);
    tell(path, inode, getpid());
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        tell("/proc/locks", inode, getpid());
        tell(path, inode, getpid());
        exit(0);
    }
    waitpid(child, NULL, 0);
    close(other);
    tell("/proc/locks", inode, getpid());

    /* files that are in no directory are on a mount nevertheless */
    int ends[2], mount;
    pipe(ends);
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", ends[0]);
    const char *line = strstr(slurp(path), "mnt_id:");
    CHECK(line && sscanf(line, "mnt_id: %d", &mount) == 1 && mount > 0);
    line = strstr(slurp("/proc/self/fdinfo/1"), "mnt_id:");
    CHECK(line && sscanf(line, "mnt_id: %d", &mount) == 1 && mount > 0);
    CHECK(strstr(slurp("/proc/vmstat"), "nr_free_pages ") && strstr(text, "\npgfault "));
    return guest_end();
}
