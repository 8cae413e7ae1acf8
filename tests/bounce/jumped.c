/* Jumps to each place of the handler that serves calls, from offset argv[1] of the vDSO to argv[2], argv[3] bytes apart:
 * with a sound frame and arguments that lead somewhere, or with neither, while signals with a handler come in. Each jump
 * is a child's; whatever becomes of it, it ends. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t chance = 88172645463325252U;
static volatile int signals;

static uint64_t next(void)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return chance;
}

static void on_signal(int signo)
{
    (void)signo;
    signals++;
}

static void landed(void)
{
    _exit(0);
}

static void jump(uintptr_t to, char *stack)
{
    uint64_t *frame = (uint64_t *)(void *)(stack + 4096);
    uint64_t values[6];
    int sound = next() % 4 != 0;
    for (int i = 0; i < 6; i++)
        values[i] = next() % 3 ? (uint64_t)(stack + next() % 8192) : next() >> next() % 64;
    for (int i = 0; i < 64; i++)
        frame[i] = next() % 2 ? (uint64_t)(stack + next() % 8192) : next() % 500;
    frame[0] = next() % 2 ? SYS_getppid : SYS_umask;
    if (sound) {
        frame[1] = (uint64_t)(frame + 32);
        frame[2] = (uint64_t)landed;
#ifdef __x86_64__
        frame[3] = 0x202;
#else
        frame[3] = 0;
#endif
    }
#ifdef __x86_64__
    register uint64_t r10 __asm__("r10") = values[3], r8 __asm__("r8") = values[4], r9 __asm__("r9") = values[5];
    __asm__ volatile("mov %0, %%rsp\n jmp *%1" : : "r"(frame), "r"(to), "D"(values[0]), "S"(values[1]), "d"(values[2]),
                     "r"(r10), "r"(r8), "r"(r9), "a"(frame[0]), "c"(frame[2]) : "memory");
#else
    register uint64_t x0 __asm__("x0") = values[0], x1 __asm__("x1") = values[1], x2 __asm__("x2") = values[2];
    register uint64_t x3 __asm__("x3") = values[3], x4 __asm__("x4") = values[4], x5 __asm__("x5") = values[5];
    register uint64_t x8 __asm__("x8") = frame[0];
    __asm__ volatile("mov sp, %0\n br %1" : : "r"(frame), "r"(to), "r"(x0), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5),
                     "r"(x8) : "memory");
#endif
    __builtin_unreachable();
}

int main(int argc, char **argv)
{
    uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
    int jumps = 0;
    if (argc < 4)
        return 2;
    char *stack = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (long at = atol(argv[1]); at < atol(argv[2]); at += atol(argv[3])) {
        next();
        pid_t child = fork();
        if (!child) {
            static char alternate[16384];
            stack_t own = { .ss_sp = alternate, .ss_size = sizeof alternate };
            struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
            struct itimerval often = { { 0, 300 }, { 0, 100 } }, end = { { 0, 0 }, { 0, 200000 } };
            sigaltstack(&own, NULL);
            sigaction(SIGALRM, &action, NULL);
            if (next() % 2)
                setitimer(ITIMER_REAL, &often, NULL);
            setitimer(ITIMER_VIRTUAL, &end, NULL); /* kills */
            setpgid(0, 0);
            jump(vdso + at, stack);
        }
        for (int tries = 0; waitpid(child, NULL, WNOHANG) != child; tries++) {
            if (tries > 20)
                kill(child, SIGKILL);
            usleep(tries > 2 ? 10000 : 300);
        }
        jumps++;
    }
    printf("%d jumps\n", jumps);
    return 0;
}
