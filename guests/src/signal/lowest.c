/* A signal's frame at the lowest address of an alternate stack from which its handler can still return: below it there is
 * room for what a bounce takes of the stack and nothing else, then a page that can't be touched.
 * man 2 sigaltstack, man 2 sigreturn */
#include "guest.h"

#ifdef __x86_64__
#define ROOM 152 /* what lies below SP in the handler: its return takes 8 off, and 160 are needed below that */
__asm__(".text\n.globl raise_at, on_signal\n"
        "raise_at: push %rbx\n mov %rsp, %rbx\n mov %rdi, %rsp\n"
        "mov %rsi, %rdi\n mov %rdx, %rsi\n mov $10, %edx\n mov $234, %eax\n syscall\n"
        "mov %rbx, %rsp\n pop %rbx\n ret\n"
        "on_signal: mov %rsp, seen(%rip)\n incl count(%rip)\n ret\n");
#else
#define ROOM (128 + 32)             /* red zone and frame */
__asm__(".text\n.globl raise_at, on_signal\n"
        "raise_at: mov x9, sp\n mov sp, x0\n"
        "mov x0, x1\n mov x1, x2\n mov x2, #10\n mov x8, #131\n svc #0\n"
        "mov sp, x9\n ret\n"
        "on_signal: adrp x9, seen\n add x9, x9, :lo12:seen\n mov x10, sp\n str x10, [x9]\n"
        "adrp x9, count\n add x9, x9, :lo12:count\n ldr w10, [x9]\n add w10, w10, #1\n str w10, [x9]\n ret\n");
#endif

uintptr_t seen;
int count;
void raise_at(uintptr_t sp, long tgid, long tid);
void on_signal(int signal);

#define STACK_PAGES 16

int main(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_NODEFER };
    guest_start();
    char *pages = mmap(NULL, (STACK_PAGES + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages, PAGE, PROT_NONE))
        return 1;
    stack_t stack = { .ss_sp = pages + PAGE, .ss_size = STACK_PAGES * PAGE };
    WANT(sigaltstack(&stack, NULL), 0);
    sigaction(SIGUSR1, &action, NULL);

    /* how far below SP the frame begins, from an SP on that stack and with its alignment */
    const uintptr_t low = (uintptr_t)stack.ss_sp, high = low + STACK_PAGES * PAGE - 64;
    raise_at(high, getpid(), getpid());
    WANT(count, 1);
    CHECK(seen > low && seen < high);
    const uintptr_t frame_bytes = high - seen;

    /* all the way down */
    const uintptr_t lowest = (low + frame_bytes + ROOM + 63) & -64;
    for (uintptr_t sp = lowest + 1024; sp >= lowest; sp -= 64)
        raise_at(sp, getpid(), getpid());
    WANT(count, 18);
    CHECK(seen - low >= ROOM && seen - low < ROOM + 64);
    return guest_end();
}
