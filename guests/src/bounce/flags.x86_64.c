/* Flags and the red zone across a system call, and a program that single-steps itself through some. */
#include "guest.h"

#define CF 1UL
#define DF 0x400UL
#define OF 0x800UL
#define NT 0x4000UL
#define AC 0x40000UL
#define ID 0x200000UL
#define TF 0x100UL

/* getpid with these flags; the flags behind it. rcx and r11 are what `syscall` makes of them. */
static uint64_t across(uint64_t flags, int *good)
{
    uint64_t after, rcx, r11, here;
    long pid;
    __asm__ volatile("push %[flags]\n popfq\n"
                     "syscall\n"
                     "1: pushfq\n pop %[after]\n"
                     "push $0x202\n popfq\n"
                     "lea 1b(%%rip), %[here]\n"
                     : "=a"(pid), [after] "=&r"(after), "=c"(rcx), [here] "=&r"(here)
                     : "a"(SYS_getpid), [flags] "r"(flags)
                     : "r11", "memory", "cc");
    __asm__ volatile("push %[flags]\n popfq\n"
                     "syscall\n"
                     "mov %%r11, %[r11]\n"
                     "push $0x202\n popfq\n"
                     : "=a"(pid), [r11] "=&r"(r11)
                     : "a"(SYS_getpid), [flags] "r"(flags)
                     : "rcx", "r11", "memory", "cc");
    *good = pid == getpid() && rcx == here && r11 == flags;
    return after;
}

static void kept(const char *name, uint64_t flags)
{
    int good;
    uint64_t after = across(flags | 0x202, &good);
    printf("%s: %s\n", name, after == (flags | 0x202) ? "kept" : "lost");
    CHECK(good);
}

/* A leaf's 128 bytes below RSP, every one of them, with a call in between. */
static int red_zone(void)
{
    uint64_t sum;
    __asm__ volatile("mov $-128, %%rdx\n"
                     "1: mov %%rdx, (%%rsp, %%rdx)\n add $8, %%rdx\n jnz 1b\n"
                     "mov %[number], %%eax\n syscall\n"
                     "xor %[sum], %[sum]\n mov $-128, %%rdx\n"
                     "2: mov (%%rsp, %%rdx), %%rcx\n sub %%rdx, %%rcx\n or %%rcx, %[sum]\n add $8, %%rdx\n jnz 2b\n"
                     : [sum] "=&r"(sum) : [number] "i"(SYS_getpid) : "rax", "rcx", "rdx", "r11", "memory", "cc");
    return sum == 0;
}

static volatile long stops[64];
static volatile int count;
extern char first[];

static void step(int signal, siginfo_t *info, void *context)
{
    uint64_t *registers = (uint64_t *)((char *)context + 40);
    (void)signal;
    if (count < 64)
        stops[count++] = (long)registers[16] - (long)first;
    if (info->si_code != TRAP_TRACE || (uint64_t)info->si_addr != registers[16])
        guest_check(__FILE__, __LINE__, "a trace trap at its address", 0);
    if (count == 64)
        registers[17] &= ~TF;
}

/* The trap behind a system call comes after one more instruction: Linux returns by iret. */
static void single_step(void)
{
    struct sigaction action = { .sa_sigaction = step, .sa_flags = SA_SIGINFO };
    sigaction(SIGTRAP, &action, 0);
    long mine, parents;
    __asm__ volatile("pushfq\n orq $0x100, (%%rsp)\n popfq\n"
                     "first: nop\n nop\n"
                     "mov %[getpid], %%eax\n"
                     "syscall\n"
                     "mov %%rax, %%rbx\n nop\n"
                     "mov %[getppid], %%eax\n"
                     "syscall\n"
                     "nop\n nop\n"
                     "pushfq\n andq $~0x100, (%%rsp)\n popfq\n nop\n"
                     : "=b"(mine), "=a"(parents) : [getpid] "i"(SYS_getpid), [getppid] "i"(SYS_getppid)
                     : "rcx", "r11", "memory", "cc");
    CHECK(mine == getpid() && parents == getppid());
    for (int i = 0; i < count; i++)
        printf("%ld%c", stops[i], i + 1 < count ? ' ' : '\n');
}

int main(void)
{
    guest_start();
    puts("[NT, AC, ID, DF preserved]");
    kept("none", 0);
    kept("C and O", CF | OF);
    kept("NT", NT);
    kept("AC", AC);
    kept("ID", ID);
    kept("DF", DF);
    kept("NT, AC, ID, DF", NT | AC | ID | DF);
    CHECK(red_zone());
    puts("[a program that single-steps itself]");
    single_step();
    return guest_end();
}
