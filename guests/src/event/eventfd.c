/* Event counters.  man 2 eventfd */
#include "guest.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

static uint64_t got;

static short ready(int fd)
{
    struct pollfd p = { fd, POLLIN | POLLOUT, 0 };
    return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

/* The line of /proc/self/fdinfo/FD that begins with a word. */
static void show_line(int fd, const char *word)
{
    char path[64], line[128];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, word, strlen(word)))
            fputs(line, stdout);
    if (file)
        fclose(file);
}

int main(void)
{
    uint64_t one = 1, most = UINT64_MAX, nearly = UINT64_MAX - 1;
    char name[64] = "";
    struct stat st;
    guest_start();
    int fd = eventfd(3, EFD_NONBLOCK);
    CHECK(fd >= 0);
    WANT(ready(fd), POLLIN | POLLOUT);
    WANT(read(fd, &got, 8), 8);
    WANT(got, 3);
    WANT(ready(fd), POLLOUT);
    FAILS(read(fd, &got, 8), EAGAIN);
    FAILS(read(fd, &got, 7), EINVAL);
    FAILS(write(fd, &one, 7), EINVAL);
    FAILS(write(fd, &most, 8), EINVAL);
    WANT(write(fd, &nearly, 8), 8);
    WANT(ready(fd), POLLIN);
    FAILS(write(fd, &one, 8), EAGAIN);
    show_line(fd, "eventfd-count");
    show_line(fd, "eventfd-semaphore");
    WANT(read(fd, &got, 8), 8);
    CHECK(got == nearly);
    FAILS(write(fd, BAD, 8), EFAULT);
    WANT(lseek(fd, 5, SEEK_SET), 0);
    FAILS(pread(fd, &got, 8, 0), ESPIPE);
    WANT(write(fd, &one, 8), 8);
    FAILS(read(fd, BAD, 8), EFAULT);
    read(fd, &got, 8);                                  /* qemu-user looks at the buffer first */
    struct iovec parts[2] = { { &got, 4 }, { (char *)&got + 4, 4 } };
    WANT(write(fd, &one, 8), 8);
    WANT(readv(fd, parts, 2), 8);
    WANT(got, 1);

    int semaphore = syscall(SYS_eventfd2, 2, EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK);
    WANT(fcntl(semaphore, F_GETFD), FD_CLOEXEC);
    CHECK(fcntl(semaphore, F_GETFL) == (O_RDWR | O_NONBLOCK));
    WANT(read(semaphore, &got, 8), 8);
    WANT(got, 1);
    WANT(read(semaphore, &got, 8), 8);
    WANT(got, 1);
    FAILS(read(semaphore, &got, 8), EAGAIN);
    show_line(semaphore, "eventfd-semaphore");
    FAILS(syscall(SYS_eventfd2, 0, 2), EINVAL);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    char target[64] = "";
    WANT(readlink(name, target, sizeof target - 1), 20);
    CHECK(!strcmp(target, "anon_inode:[eventfd]"));
    FAILS(open(name, O_RDWR), ENXIO);
    WANT(fstat(fd, &st), 0);
    WANT(st.st_mode, 0600);
    WANT(st.st_size, 0);

    /* two processes wait for each other: a reader for a number, a writer for room */
    int there = eventfd(0, 0), back = eventfd(0, EFD_SEMAPHORE);
    pid_t child = fork();
    if (!child) {
        uint64_t sum = 0, value;
        for (int i = 0; i < 100; i++) {
            if (read(there, &value, 8) != 8)
                _exit(1);
            sum += value;
            value = 1;
            if (write(back, &value, 8) != 8)
                _exit(2);
        }
        value = UINT64_MAX - 1;                         /* blocks until the parent has read what is there */
        if (write(back, &value, 8) != 8)
            _exit(3);
        _exit(sum == 5050 ? 0 : 4);
    }
    for (uint64_t i = 1; i <= 100; i++) {
        if (write(there, &i, 8) != 8 || (i < 100 && read(back, &got, 8) != 8))
            CHECK(!"ping-pong");
    }
    int status;
    WANT(read(back, &got, 8), 8);
    CHECK(waitpid(child, &status, 0) == child);
    WANT(status, 0);
    WANT(ready(back), POLLIN);
    return guest_end();
}
