/* The filter of the slide, instruction for instruction; only the architecture's constant is chosen (AUDIT_ARCH_HERE).
 *
 * A call passes if its instruction pointer lies in the vDSO.  Classic BPF has 32-bit words, so both bounds are compared
 * in halves, the upper ones (offset 4; both architectures are little-endian) first.
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>

/* struct seccomp_data as the slide extends it */
struct seccomp_bounds_data {
    int nr;
    uint32_t arch;
    uint64_t instruction_pointer;
    uint64_t args[6];
    uint64_t ip_bounds[2];
};

#define LD(field, half) BPF_STMT(BPF_LD + BPF_W + BPF_ABS, offsetof(struct seccomp_bounds_data, field) + (half))
#define TAX BPF_STMT(BPF_MISC + BPF_TAX, 0)
#define RET(action) BPF_STMT(BPF_RET + BPF_K, action)
/* Jumps say how many instructions they leave out.  A is a bound, X the instruction pointer. */
#define JNE(value, skip) BPF_JUMP(BPF_JMP + BPF_JEQ + BPF_K, value, 0, skip)
#define JGTX(skip) BPF_JUMP(BPF_JMP + BPF_JGT + BPF_X, 0, skip, 0)
#define JLTX(skip) BPF_JUMP(BPF_JMP + BPF_JGE + BPF_X, 0, 0, skip)
#define JLEX(skip) BPF_JUMP(BPF_JMP + BPF_JGT + BPF_X, 0, 0, skip)

/* Would be better in eBPF... */
static const struct sock_filter insns[] = {
    LD(arch, 0),
    JNE(AUDIT_ARCH_HERE, 19 /*trap*/),

    LD(instruction_pointer, 4),
    TAX,
    LD(ip_bounds[0], 4),
    JGTX(15 /*trap*/),
    JLTX(4 /*pass0*/),

    LD(instruction_pointer, 0),
    TAX,
    LD(ip_bounds[0], 0),
    JGTX(10 /*trap*/),

    /*pass0*/
    LD(instruction_pointer, 4),
    TAX,
    LD(ip_bounds[1], 4),
    JLTX(6 /*trap*/),
    JGTX(4 /*pass1*/),

    LD(instruction_pointer, 0),
    TAX,
    LD(ip_bounds[1], 0),
    JLEX(1 /*trap*/),

    /*pass1*/
    RET(SECCOMP_RET_ALLOW),

    /*trap*/
    RET(SECCOMP_RET_TRAP),
};
