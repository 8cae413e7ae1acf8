/* guest-args: first "second word"
   guest-env: GUEST_NAME=value
 * /proc/self and the devices.  man 5 proc, man 4 null, man 4 random, man 4 full */
#include "guest.h"

static char text[65536];

static long slurp(const char *path)
{
    int fd = open(path, O_RDONLY);
    long total = 0, n = -1;
    if (fd < 0)
        return -errno;
    while (total < (long)sizeof text - 1 && (n = read(fd, text + total, sizeof text - 1 - (size_t)total)) > 0)
        total += n;
    close(fd);
    text[total] = 0;
    return n < 0 ? -errno : total;
}

int main(int argc, char **argv)
{
    char link[4096] = { 0 }, bytes[64];
    struct stat st, other;
    guest_start();
    CHECK(argc == 3 && strcmp(argv[2], "second word") == 0);
    CHECK(slurp("/proc/self/cmdline") > 0 && strcmp(text, argv[0]) == 0);
    CHECK(strcmp(text + strlen(text) + 1, "first") == 0);
    CHECK(slurp("/proc/self/environ") > 0 && strstr(text, "GUEST_NAME=value"));
    CHECK(readlink("/proc/self/exe", link, sizeof link - 1) > 0 && link[0] == '/');
    WANT(stat("/proc/self/exe", &st), 0);
    WANT(stat(link, &other), 0);
    CHECK(st.st_ino == other.st_ino);

    int fd = open("f", O_RDWR | O_CREAT, 0600);
    WANT(write(fd, "via proc", 8), 8);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    CHECK(readlink(link, text, sizeof text) > 2 && strstr(text, "/f"));
    WANT(unlink("f"), 0);
    int again = open(link, O_RDONLY);
    WANT(pread(again, bytes, sizeof bytes, 0), 8);
    snprintf(link, sizeof link, "/dev/fd/%d", again);
    WANT(stat(link, &st), 0);
    CHECK(S_ISREG(st.st_mode) && st.st_size == 8);

    CHECK(slurp("/proc/self/maps") > 0);
    CHECK(strstr(text, "[stack]") && strstr(text, "r-xp") && strstr(text, "rw-p"));
    unsigned long low = 0, high = 0, here = (unsigned long)link;
    int inside = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (sscanf(line, "%lx-%lx", &low, &high) == 2 && here >= low && here < high && strstr(line, "[stack]"))
            inside = 1;
    CHECK(inside);
    CHECK(slurp("/proc/self/status") > 0);
    char *pid = strstr(text, "\nPid:");
    CHECK(pid && atoi(pid + 5) == getpid());
    CHECK(strstr(text, "State:\tR (running)") && strstr(text, "Threads:\t1\n"));
    CHECK(slurp("/proc/self/stat") > 0 && atoi(text) == getpid() && strstr(text, ") R "));
    CHECK(slurp("/proc/self/auxv") > 0);
    CHECK(slurp("/proc/meminfo") > 0 && strstr(text, "MemTotal:"));
    CHECK(slurp("/proc/uptime") > 0 && strtod(text, NULL) > 0);
    CHECK(slurp("/proc/mounts") > 0 && strstr(text, " / "));
    CHECK(slurp("/proc/cpuinfo") > 0 && strstr(text, "processor"));
    CHECK(slurp("/proc/sys/kernel/ostype") == 6 && strcmp(text, "Linux\n") == 0);
    CHECK(slurp("/proc/sys/kernel/pid_max") > 0 && atoi(text) > getpid());
    CHECK(slurp("/proc/filesystems") > 0 && strstr(text, "proc"));
    CHECK(readlink("/proc/self", link, sizeof link) > 0 && atoi(link) == getpid());
    FAILS(open("/proc/self/nothing", O_RDONLY), ENOENT);
    FAILS(open("/proc/nothing", O_RDWR | O_CREAT, 0600), ENOENT);

    int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDWR), full = open("/dev/full", O_RDWR);
    WANT(write(null, bytes, 64), 64);
    WANT(read(null, bytes, 64), 0);
    memset(bytes, 'x', sizeof bytes);
    WANT(read(zero, bytes, 64), 64);
    CHECK(bytes[0] == 0 && bytes[63] == 0);
    WANT(write(zero, bytes, 64), 64);
    FAILS(write(full, bytes, 1), ENOSPC);
    WANT(read(full, bytes, 8), 8);
    int random = open("/dev/urandom", O_RDONLY);
    WANT(read(random, bytes, 64), 64);
    WANT(read(open("/dev/random", O_RDONLY), bytes + 32, 32), 32);
    int different = 0;
    for (int i = 1; i < 64; i++)
        different += bytes[i] != bytes[0];
    CHECK(different > 32);
    WANT(lseek(null, 100, SEEK_SET), 0);
    WANT(readlink("/dev/stdin", link, sizeof link), 15);
    return guest_end();
}
