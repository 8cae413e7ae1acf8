/* A function for each call: it jumps to the vDSO's, or, where there is none, makes the call itself. Which, is found out
 * once, at the start (resolve.c), and kept in the call's slot: struct slot there. */
#include <uabi/kernel.h>

#define ENOSYS 38
#define ENOMEM 12

#ifdef __x86_64__
#define NUMBER(x86_64, aarch64) x86_64

.macro jump name
    jmp *slot_\name(%rip)
.endm

.macro make number, arguments
    .if \arguments > 3
    mov %rcx, %r10
    .endif
    mov $\number, %eax
    syscall
    ret
.endm

.macro refuse
    mov $-ENOSYS, %rax
    ret
.endm
#else
#define NUMBER(x86_64, aarch64) aarch64

.macro jump name
    adrp x16, slot_\name
    ldr x16, [x16, :lo12:slot_\name]
    br x16
.endm

.macro make number, arguments
    mov x8, #\number
    svc #0
    ret
.endm

.macro refuse
    mov x0, #-ENOSYS
    ret
.endm
#endif

.macro entry name, version
    .pushsection .text
    .balign 8
    .globl __kernel_\name
    .type __kernel_\name, %function
__kernel_\name:
    .cfi_startproc
    jump \name
    .cfi_endproc
    .size __kernel_\name, . - __kernel_\name
    .popsection
    .pushsection .rodata
name_\name:
    .asciz "__kernel_\name"
    .popsection
    .pushsection uabi_slots, "aw", %progbits
    .balign 8
slot_\name:
    .quad 0
    .long name_\name - .
    .long own_\name - .
    .quad \version
    .popsection
.endm

.macro plain name, number, arguments, version
    entry \name, \version
    .pushsection .text
    .type own_\name, %function
own_\name:
    .cfi_startproc
    .if \number < 0
    refuse
    .else
    make \number, \arguments
    .endif
    .cfi_endproc
    .size own_\name, . - own_\name
    .popsection
.endm

#define CALL(name, x86_64, aarch64, arguments, version) plain name, NUMBER(x86_64, aarch64), arguments, version;
#ifdef __x86_64__
#define OTHER(name, x86_64, aarch64, arguments, version) entry name, version;
#else
/* the child has its return address in a register: nothing is special there but what has changed since UABI_1 */
#define OTHER(name, x86_64, aarch64, arguments, version) other name, aarch64, arguments, version;

.macro other name, number, arguments, version
    .if \version > 1
    entry \name, \version
    .else
    plain \name, \number, \arguments, \version
    .endif
.endm
#endif

UABI_CALLS(CALL, OTHER)

/* What OTHER functions do without a vDSO. */
    .text
#ifdef __x86_64__
own_vfork:
    pop %r9                         /* the child overwrites what is on the stack */
    mov $58, %eax
    syscall
    jmp *%r9

own_clone:
    pop %r9                         /* the child's stack has none */
    mov %rcx, %r10
    mov $56, %eax
    syscall
    jmp *%r9

own_clone3:
    pop %r9
    mov $435, %eax
    syscall
    jmp *%r9

own_brk:
    mov $12, %eax
    syscall
    cmp %rdi, %rax
    je 1f
    test %rdi, %rdi
    je 1f
    mov $-ENOMEM, %rax
1:  ret
#else
own_brk:
    mov x1, x0
    mov x8, #214
    svc #0
    cmp x0, x1
    b.eq 1f
    cbz x1, 1f
    mov x0, #-ENOMEM
1:  ret
#endif

/* long uabi_clone(flags, stack, parent_tid, tls, child_tid, function, argument) */
    .globl uabi_clone
    .type uabi_clone, %function
uabi_clone:
#ifdef __x86_64__
    mov 8(%rsp), %rax               /* the argument */
    and $-16, %rsi
    sub $16, %rsi
    mov %r9, (%rsi)                 /* the function waits on the child's stack */
    mov %rax, 8(%rsi)
    xchg %rcx, %r8                  /* this architecture has child_tid before tls */
    sub $8, %rsp
    call __kernel_clone
    test %rax, %rax
    je 1f
    add $8, %rsp
    ret
1:  xor %ebp, %ebp                  /* the child: nobody called it */
    pop %rax
    pop %rdi
    call *%rax
    mov %eax, %edi
    call __kernel_exit
    ud2
#else
    and x1, x1, #-16
    stp x5, x6, [x1, #-16]!         /* the function waits on the child's stack */
    stp x29, x30, [sp, #-16]!
    bl __kernel_clone
    cbz x0, 1f
    ldp x29, x30, [sp], #16
    ret
1:  mov x29, #0                     /* the child: nobody called it */
    ldp x1, x0, [sp], #16
    blr x1
    bl __kernel_exit
    brk #0
#endif
    .size uabi_clone, . - uabi_clone

/* The program begins: SP leads to argc. */
    .globl _start
    .type _start, %function
_start:
#ifdef __x86_64__
    xor %ebp, %ebp
    mov %rsp, %rdi
    and $-16, %rsp
    call uabi_start
    ud2
#else
    mov x29, #0
    mov x30, #0
    mov x0, sp
    bl uabi_start
    brk #0
#endif
    .size _start, . - _start

    .section .note.GNU-stack, "", %progbits
