/* Two calls that --vdso userspace serves: main sets the umask, asks whether there is a /, and looks whether the umask is
 * what it was set to. The question is the old access(2) on x86-64, faccessat(2) on AArch64; faccessat2(2) replaces both.
 * Built with symbols, frame pointers and unwind tables, to be read in a debugger (docs/step.md).
 */
long umask(long mask);
long exists(const char *path);
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
    FUNCTION(umask)
    "mov x8, #166\n" /* __NR_umask */
    "svc #0\n"
    "ret\n"
    END(umask)
    FUNCTION(exists)
    "mov x1, x0\n" /* the path */
    "mov x0, #-100\n" /* AT_FDCWD */
    "mov x2, #0\n" /* F_OK */
    "mov x8, #48\n" /* __NR_faccessat */
    "svc #0\n"
    "ret\n"
    END(exists)
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
    FUNCTION(umask)
    "mov $95, %eax\n" /* __NR_umask */
    "syscall\n"
    "ret\n"
    END(umask)
    FUNCTION(exists)
    "xor %esi, %esi\n" /* F_OK */
    "mov $21, %eax\n" /* __NR_access */
    "syscall\n"
    "ret\n"
    END(exists)
    FUNCTION(leave)
    "mov $231, %eax\n" /* __NR_exit_group */
    "syscall\n"
    END(leave));
#endif

int main(void)
{
    umask(027);
    long missing = exists("/");
    return missing || umask(022) != 027;
}
