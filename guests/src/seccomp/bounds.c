/* Where system calls bounce, filters are told where the vDSO is, and the talk's filter can tell one call from the other.
 * docs/decisions/0011-seccomp-data.md
 * guest-native: no
 * guest-abis: bounce */
#include "filters.h"
#include <sys/auxv.h>

#ifdef __aarch64__
#define OUR_ARCH AUDIT_ARCH_AARCH64
#else
#define OUR_ARCH AUDIT_ARCH_X86_64
#endif
#define IP offsetof(struct seccomp_data, instruction_pointer)
#define START sizeof(struct seccomp_data)
#define END (sizeof(struct seccomp_data) + 8)
#define TAX BPF_STMT(BPF_MISC | BPF_TAX, 0)
#define JNE(k, off) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (k), 0, (off))
#define JGTX(off) BPF_JUMP(BPF_JMP | BPF_JGT | BPF_X, 0, (off), 0)
#define JLTX(off) BPF_JUMP(BPF_JMP | BPF_JGE | BPF_X, 0, 0, (off))
#define JLEX(off) BPF_JUMP(BPF_JMP | BPF_JGT | BPF_X, 0, 0, (off))

static int takes(uint32_t offset)
{
    return INSTALL(0, ALLOW, LOAD(offset), ALLOW) ? errno : 0;
}

static int last_word(void) { return takes(76); }
static int beyond(void) { return takes(80); }
static int unaligned(void) { return takes(66); }

/* A filter gets to know the length that it was written for: which words it loads tells that. */
static int length_told(void)
{
    if (INSTALL(0, NUMBER, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 1, 0), ALLOW,
                BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO),
                BPF_STMT(BPF_RET | BPF_A, 0)))
        return 1;
    return syscall(SYS_getppid) == -1 ? errno : 0;
}

static int length_told_with_bounds(void)
{
    if (INSTALL(0, LOAD(START), NUMBER, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 1, 0), ALLOW,
                BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO),
                BPF_STMT(BPF_RET | BPF_A, 0)))
        return 1;
    return syscall(SYS_getppid) == -1 ? errno : 0;
}

/* ERRNO 1 where the two words at an offset are these. */
static int are(uint32_t offset, unsigned long value)
{
    if (INSTALL(0, NUMBER, JNE(SYS_getppid, 5), LOAD(offset), JNE((uint32_t)value, 3), LOAD(offset + 4),
                JNE((uint32_t)(value >> 32), 1), RETURN(SECCOMP_RET_ERRNO | 1), ALLOW))
        return 9;
    return syscall(SYS_getppid) == -1 ? errno : 0;
}

static unsigned long vdso_end;

static int start_is_the_vdso(void) { return are(START, getauxval(AT_SYSINFO_EHDR)); }
static int end_is_its_end(void) { return are(END, vdso_end); }

static void find_end(void)
{
    char line[256];
    unsigned long start, end;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps))
        if (strstr(line, "[vdso]") && sscanf(line, "%lx-%lx", &start, &end) == 2)
            vdso_end = end;
    fclose(maps);
}

/* The talk's filter, instruction for instruction. Every real call is made from the vDSO, but for exit_group. */
static int the_talks(void)
{
    static struct sock_filter insns[] = {
        LOAD(offsetof(struct seccomp_data, arch)),
        JNE(OUR_ARCH, 19 /* trap */),

        LOAD(IP + 4),
        TAX,
        LOAD(START + 4),
        JGTX(15 /* trap */),
        JLTX(4 /* pass0 */),

        LOAD(IP),
        TAX,
        LOAD(START),
        JGTX(10 /* trap */),

        /* pass0 */
        LOAD(IP + 4),
        TAX,
        LOAD(END + 4),
        JLTX(6 /* trap */),
        JGTX(4 /* pass1 */),

        LOAD(IP),
        TAX,
        LOAD(END),
        JLEX(1 /* trap */),

        /* pass1 */
        RETURN(SECCOMP_RET_ALLOW),

        /* trap */
        RETURN(SECCOMP_RET_TRAP),
    };
    if (install(0, sizeof insns / sizeof *insns, insns))
        return 1;
    if (syscall(SYS_getppid) <= 0 || syscall(SYS_getpgid, 0) <= 0)
        return 2;
    write(1, "calls from the vDSO are allowed\n", 32);
    return 3;
}

int main(void)
{
    struct seccomp_notif_sizes sizes;
    guest_start();
    no_new_privs();
    find_end();
    WANT(in_child(last_word), 0);
    WANT(in_child(beyond), EINVAL);
    WANT(in_child(unaligned), EINVAL);
    WANT(in_child(length_told), 64);
    WANT(in_child(length_told_with_bounds), 80);
    WANT(in_child(start_is_the_vdso), 1);
    WANT(in_child(end_is_its_end), 1);
    WANT(in_child(the_talks), 1000 + SIGSYS);
    WANT(syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes), 0);
    WANT(sizes.seccomp_data, 64);
    return guest_end();
}
