/* The smallest program that has something to bounce: main asks twice who its parent is, and sees whether the answers
 * agree. Built with symbols, frame pointers and unwind tables, to be read in a debugger (docs/step.md).
 */
long getppid(void);
int main(void);
__attribute__((noreturn)) void leave(int status);

#define FUNCTION(name) ".globl " #name "\n.type " #name ", %function\n" #name ":\n.cfi_startproc\n"
#define END(name) ".cfi_endproc\n.size " #name ", . - " #name "\n"

#ifdef __aarch64__
asm(".text\n"
    FUNCTION(_start)
    ".cfi_undefined x30\n" /* nobody called it */
    "mov x29, #0\n"
    "mov x30, #0\n"
    "bl main\n"
    "bl leave\n"
    END(_start)
    FUNCTION(getppid)
    "mov x8, #173\n" /* __NR_getppid */
    "svc #0\n"
    "ret\n"
    END(getppid)
    FUNCTION(leave)
    "mov x8, #94\n" /* __NR_exit_group */
    "svc #0\n"
    END(leave));
#else
asm(".text\n"
    FUNCTION(_start)
    ".cfi_undefined rip\n" /* nobody called it */
    "xor %ebp, %ebp\n"
    "call main\n"
    "mov %eax, %edi\n"
    "call leave\n"
    END(_start)
    FUNCTION(getppid)
    "mov $110, %eax\n" /* __NR_getppid */
    "syscall\n"
    "ret\n"
    END(getppid)
    FUNCTION(leave)
    "mov $231, %eax\n" /* __NR_exit_group */
    "syscall\n"
    END(leave));
#endif

int main(void)
{
    long first = getppid();
    return getppid() != first;
}
