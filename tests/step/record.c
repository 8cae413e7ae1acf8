/* A handler as gcc compiles it on AArch64: its frame record is at the bottom of its frame, so it does not tell SP. */
#include <signal.h>
#include <unistd.h>

void handler(int signal);

__asm__(".globl handler\n"
        ".type handler, %function\n"
        "handler:\n"
        "    stp x29, x30, [sp, #-48]!\n" /* the record, and 32 bytes above it */
        "    mov x29, sp\n"
        "    bl getppid\n"
        "    ldp x29, x30, [sp], #48\n"
        "    ret\n"
        ".size handler, . - handler\n");

int main(void)
{
    signal(SIGUSR1, handler);
    return raise(SIGUSR1) ? 1 : 0;
}
