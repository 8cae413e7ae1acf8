/* What a C library has and the small one too: built with each, the program must print the same. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile int alarms;

static void on_alarm(int number)
{
    alarms += number == SIGALRM;
}

static void texts(void)
{
    static const int errors[] = {
        EPERM, ENOENT, ESRCH, EINTR, ENXIO, E2BIG, ENOEXEC, EBADF, EAGAIN, EACCES, EFAULT, EEXIST, ENODEV, ENOTDIR, EISDIR,
        EINVAL, EFBIG, ENOSPC, EROFS, EMLINK, EPIPE, ENOTEMPTY,
    };
    char small[8], text[64] = "abcdefgh";
    int total = snprintf(small, sizeof small, "%s", "too long for it");

    printf("%d %s\n", total, small);
    printf("%d %5d %-5d| %05d %i\n", -1, 42, 42, -42, 0);
    printf("%u %x %o %c %% %s %.3s %-6s| %6s\n", 4000000000U, 0xbeefU, 0755U, 'c', "s", "abcdef", "ab", "cd");
    printf("%ld %lu %lx %zu %*d\n", INT64_MIN, UINT64_MAX, 1UL << 63, (size_t)7, 4, 9);
    printf("%p %s\n", (void *)0x1234, "");
    fprintf(stdout, "%d\n", 1);
    fputs("fputs\n", stdout);
    putchar('p');
    puts("uts");
    memmove(text + 2, text, 6);
    puts(text);
    memmove(text, text + 2, 6);
    puts(text);
    memset(text, 'x', 3);
    puts(text);
    printf("%d %d %d\n", strcmp("a", "b") < 0, strncmp("abc", "abd", 2), memcmp("\xff", "\1", 1) > 0);
    printf("%s %s %d %d\n", strchr("a/b/c", '/'), strrchr("a/b/c", '/'), strchr("abc", 'x') == NULL,
           strrchr("abc", 0) != NULL);
    printf("%zu %s\n", strlen("four"), strcpy(text, "copied"));
    for (unsigned i = 0; i < sizeof errors / sizeof *errors; i++)
        printf("%d %s\n", errors[i], strerror(errors[i]));
}

static void files(void)
{
    struct stat status, again;
    char text[32] = "", where[64];
    int fd = open("/tmp/file", O_RDWR | O_CREAT | O_EXCL, 0640), other;

    printf("%d\n", fd > 2);
    printf("%zd %zd\n", write(fd, "0123456789", 10), lseek(fd, 4, SEEK_SET));
    printf("%zd %s\n", read(fd, text, 3), text);
    printf("%d %o %d\n", fstat(fd, &status), status.st_mode & 0777, (int)status.st_size);
    printf("%d %d\n", stat("/tmp/file", &again), status.st_ino == again.st_ino);
    other = dup2(fd, 20);
    printf("%d %d\n", other, dup2(20, 20)); /* on AArch64 musl says the same of one that is not open */
    printf("%d %d %d\n", close(20), close(fd), close(fd));
    printf("%d %d\n", open("/tmp/file", O_WRONLY | O_CREAT | O_EXCL, 0600), errno == EEXIST);
    printf("%d %d\n", mkdir("/tmp/directory", 0755), chdir("/tmp/directory"));
    printf("%s\n", getcwd(where, sizeof where));
    printf("%d %d\n", getcwd(where, 2) == NULL, errno == ERANGE);
    printf("%d %d\n", chdir("/"), rmdir("/tmp/directory"));
    printf("%d %d\n", unlink("/tmp/file"), stat("/tmp/file", &status));
    printf("%zd %d\n", readlink("/tmp", where, sizeof where), errno == EINVAL);
    printf("%d %d\n", lstat("/proc/self", &status), S_ISLNK(status.st_mode));
}

static void processes(void)
{
    int status, fds[2];
    struct pollfd wait = { .events = POLLIN };
    struct sigaction action = { .sa_handler = on_alarm }, old;
    struct timespec time = { 0, 1000000 };
    sigset_t set, before;
    pid_t child;

    printf("%d\n", pipe(fds));
    wait.fd = fds[0];
    printf("%d\n", poll(&wait, 1, 10));
    write(fds[1], "x", 1);
    printf("%d %d\n", poll(&wait, 1, -1), wait.revents == POLLIN);
    child = fork();
    if (!child)
        _exit(getppid() > 0 ? 9 : 8);
    printf("%d %d\n", waitpid(child, &status, 0) == child, WEXITSTATUS(status));
    child = fork();
    if (!child)
        abort();
    printf("%d %d\n", waitpid(child, &status, 0) == child, WTERMSIG(status));
    printf("%d %d\n", waitpid(-1, &status, 0), errno == ECHILD);
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGUSR1);
    printf("%d %d\n", sigaction(SIGALRM, &action, &old), old.sa_handler == SIG_DFL);
    printf("%d %d\n", sigaction(SIGALRM, NULL, &old), old.sa_handler == on_alarm);
    printf("%d %d\n", sigaction(SIGKILL, &action, NULL), errno == EINVAL);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    printf("%d\n", sigprocmask(SIG_BLOCK, &set, &before));
    printf("%d %d\n", raise(SIGALRM), alarms);
    printf("%d %d %d\n", sigsuspend(&before), errno == EINTR, alarms);
    printf("%d %d\n", kill(getpid(), SIGALRM), alarms);
    printf("%d %d\n", sigprocmask(SIG_SETMASK, &before, NULL), alarms);
    printf("%u %u\n", alarm(100), alarm(0));
    printf("%d %d\n", nanosleep(&time, NULL), clock_gettime(CLOCK_MONOTONIC, &time));
    printf("%d %d\n", clock_gettime(77, &time), errno == EINVAL);
}

static void memory(void)
{
    char *first = malloc(100), *second = malloc(100000), *page;
    int good = first && second && first != second;

    memset(first, 1, 100);
    memset(second, 2, 100000);
    for (int i = 0; i < 100; i++)
        good &= first[i] == 1;
    free(first);
    free(second);
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *page = 1;
    printf("%d %d\n", good, munmap(page, 4096));
    printf("%d %d\n", mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED, errno == EINVAL);
}

int main(int argc, char **argv, char **envp)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    printf("%d %s %s\n", argc, argv[1], envp[0]);
    texts();
    files();
    processes();
    memory();
    fflush(stdout);
    exit(3);
}
