/* Under --bounce-frame task-page: how many pages named [task] there are, and what a program may do to its own. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_barrier_t all_there, may_go;

static int pages(uintptr_t *last)
{
    static char text[1 << 16];
    int fd = open("/proc/self/maps", O_RDONLY), count = 0;
    ssize_t length = 0, more;
    while ((more = read(fd, text + length, sizeof text - 1 - length)) > 0)
        length += more;
    close(fd);
    text[length] = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (strstr(line, "[task]")) {
            count++;
            *last = strtoul(line, NULL, 16);
        }
    return count;
}

static int count(void)
{
    uintptr_t last;
    return pages(&last);
}

static long call(long number)
{
#ifdef __aarch64__
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0");
    __asm__ volatile("svc #0" : "=r"(x0) : "r"(x8) : "memory");
    return x0;
#else
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number) : "rcx", "r11", "memory");
    return result;
#endif
}

static void *thread(void *unused)
{
    pthread_barrier_wait(&all_there);
    pthread_barrier_wait(&may_go);
    return unused;
}

static int in_child(void (*act)(void))
{
    int status;
    pid_t child = fork();
    if (!child) {
        act();
        _exit(count());
    }
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void nothing(void) {}

static void unmap(void)
{
    uintptr_t page;
    pages(&page);
    munmap((void *)page, 4096);
    call(SYS_getppid);
}

static void protect(void)
{
    uintptr_t page;
    pages(&page);
    mprotect((void *)page, 4096, PROT_READ);
    call(SYS_getppid);
}

static void no_memory(void)
{
    /* All of the address space is promised: the thread's page has no place. */
    for (size_t size = 1UL << 46; size >= 4096; size /= 2)
        while (mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED)
            ;
    long child = syscall(SYS_clone, CLONE_VM | CLONE_VFORK, 0, 0, 0, 0);
    _exit(child == -1 ? 77 : 0);
}

/* By a call: how many bytes of those below SP that are nobody's. */
static int stack_touched(void)
{
    volatile unsigned char *sp;
#ifdef __aarch64__
    __asm__ volatile("mov %0, sp" : "=r"(sp));
#else
    __asm__ volatile("lea -128(%%rsp), %0" : "=r"(sp));
#endif
    for (int i = 1; i <= 4096; i++)
        sp[-i] = 0xaa;
    call(SYS_getppid);
    int touched = 0;
    for (int i = 1; i <= 4096; i++)
        touched += sp[-i] != 0xaa;
    return touched;
}

int main(int argc, char **argv)
{
    pthread_t threads[3];
    uintptr_t page, other;
    if (argc > 1) {
        printf("%s: %d, stack touched: %s\n", argv[1], count(), stack_touched() ? "yes" : "no");
        return 0;
    }
    printf("alone: %d, ", pages(&page));
    printf("on a 64 KiB boundary: %s\n", page % 65536 ? "no" : "yes");
    pthread_barrier_init(&all_there, NULL, 4);
    pthread_barrier_init(&may_go, NULL, 4);
    for (int i = 0; i < 3; i++)
        pthread_create(threads + i, NULL, thread, NULL);
    pthread_barrier_wait(&all_there);
    printf("with three threads: %d\n", pages(&other));
    printf("in a fork's child: %d\n", in_child(nothing));
    pthread_barrier_wait(&may_go);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 1000 && count() > 1; i++)
        usleep(1000); /* a thread is joined before it is quite gone */
    printf("after them: %d\n", count());
    pid_t child = vfork();
    if (!child)
        _exit(count());
    int status;
    waitpid(child, &status, 0);
    printf("in a vfork's child: %d, after it: %d\n", WEXITSTATUS(status), count());
    printf("unmapped: %d\n", in_child(unmap));
    printf("read-only: %d\n", in_child(protect));
    printf("no place for another: %d\n", in_child(no_memory));

    printf("stack touched: %d\n", stack_touched());
    fflush(stdout);
    execl(argv[0], argv[0], "after execve", NULL);
    return 1;
}
