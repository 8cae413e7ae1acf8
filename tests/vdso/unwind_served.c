/* Unwinds from wherever a SIGTRAP finds it in the vDSO's handler that serves calls, out to main.
 *
 *     unwind_served NUMBER:A0:A1:A2:A3:A4:A5 ...     in hex; a B is a buffer of zeros, a D one of directory entries,
 *                                                    a T one of a second
 *
 * Makes each call by a function whose last instruction is the system call. Who runs this sends the signals, between any
 * two instructions; their si_addr is 0 where the result's register may have the result already. What is wrong is told, a
 * line for each; then how many signals there were. The registers that the caller had are checked as well.
 */
#define _GNU_SOURCE
#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef LLVM
#include <libunwind.h>
#else
#include <unwind.h>
#endif

enum { GIVEN = 7 }; /* the number and six arguments */
#ifdef __x86_64__
#define PC(uc) ((uc)->uc_mcontext.gregs[REG_RIP])
enum { RESULT = 0 };
/* of the number and the arguments: rax, rdi, rsi, rdx, r10, r8, r9 */
static const int column[GIVEN] = {0, 5, 4, 1, 10, 8, 9};
__asm__(".text\n.globl site, after\n.type site, @function\n.type after, @function\n"
        "site: .cfi_startproc\n"
        "push %rbp\n .cfi_adjust_cfa_offset 8\n .cfi_offset %rbp, -16\n"
        "sub $72, %rsp\n .cfi_adjust_cfa_offset 72\n"
        "mov (%rdi), %rax\n mov 16(%rdi), %rsi\n mov 24(%rdi), %rdx\n mov 32(%rdi), %r10\n"
        "mov 40(%rdi), %r8\n mov 48(%rdi), %r9\n mov 8(%rdi), %rdi\n"
        "syscall\n"
        ".cfi_endproc\n .size site, . - site\n"
        "after: .cfi_startproc simple\n .cfi_def_cfa %rsp, 8\n .cfi_undefined %rip\n" /* the end of the chain */
        "add $72, %rsp\n pop %rbp\n ret\n"
        ".cfi_endproc\n .size after, . - after\n");
#else
#define PC(uc) ((uc)->uc_mcontext.pc)
enum { RESULT = 0 };
static const int column[GIVEN] = {8, 0, 1, 2, 3, 4, 5};
__asm__(".text\n.globl site, after\n.type site, %function\n.type after, %function\n"
        "site: .cfi_startproc\n"
        "sub sp, sp, #80\n .cfi_def_cfa_offset 80\n" /* a leaf: its return address stays in x30 */
        "ldp x8, x9, [x0]\n ldp x1, x2, [x0, #16]\n ldp x3, x4, [x0, #32]\n ldr x5, [x0, #48]\n mov x0, x9\n"
        "svc #0\n"
        ".cfi_endproc\n .size site, . - site\n"
        "after: .cfi_startproc\n .cfi_def_cfa sp, 0\n .cfi_undefined 30\n" /* the end of the chain */
        "add sp, sp, #80\n ret\n"
        ".cfi_endproc\n .size after, . - after\n");
#endif

long site(const unsigned long *given);
extern char after[];
int main(int argc, char **argv);
static void attempt(void);

static unsigned long given[GIVEN];
static char buffer[4096];
static char *image;
static uintptr_t stop;
static struct dl_phdr_info found;
static const char *wrong;
static int stage, frames, traps, bad_column, has_result;

/* One frame further out: where it is, the start of its function, and the registers that the unwinder has restored. */
static int look(uintptr_t pc, void *function, uintptr_t (*restored)(void *, int), void *context)
{
    if (++frames > 64) {
        wrong = "an endless chain";
    } else if (stage == 0) {
        stage += pc == stop;
    } else if (!pc) {
        return 1;
    } else if (stage == 1) {
        if (pc != (uintptr_t)after)
            wrong = "the caller's PC is wrong";
        else if (function != (void *)site)
            wrong = "the caller is wrong";
        for (int i = 0; i < GIVEN && !wrong; i++)
            if ((column[i] != RESULT || !has_result) && restored(context, column[i]) != given[i])
                wrong = "a register is wrong", bad_column = column[i];
        stage = 2;
    } else if (stage == 2) {
        if (function != (void *)attempt)
            wrong = "the caller's caller is wrong";
        stage = 3;
    } else {
        if (function != (void *)main)
            wrong = "main was not reached";
        stage = 4;
    }
    return wrong || stage == 4;
}

#ifdef LLVM
static uintptr_t restored_by_llvm(void *cursor, int number)
{
    unw_word_t value = 0;
    unw_get_reg(cursor, number, &value);
    return value;
}

#include "cursor.h"

static void walk(ucontext_t *uc)
{
    unw_context_t here;
    unw_cursor_t cursor;
    start(&cursor, &here, uc);
    do {
        unw_word_t pc;
        unw_proc_info_t info = {0};
        unw_get_reg(&cursor, UNW_REG_IP, &pc);
        unw_get_proc_info(&cursor, &info);
        if (look(pc, (void *)info.start_ip, restored_by_llvm, &cursor))
            return;
    } while (unw_step(&cursor) > 0);
}

/* LLVM's libunwind asks this for the tables: the program's, and the image's. */
int dl_iterate_phdr(int (*callback)(struct dl_phdr_info *, size_t, void *), void *data)
{
    struct dl_phdr_info program;
    memset(&program, 0, sizeof program);
    program.dlpi_phdr = (void *)getauxval(AT_PHDR);
    program.dlpi_phnum = getauxval(AT_PHNUM);
    program.dlpi_name = "";
    for (int i = 0; i < program.dlpi_phnum; i++)
        if (program.dlpi_phdr[i].p_type == PT_PHDR)
            program.dlpi_addr = (uintptr_t)program.dlpi_phdr - program.dlpi_phdr[i].p_vaddr;
    program.dlpi_adds = found.dlpi_adds = 2;
    int result = callback(&program, sizeof program, data);
    return result ? result : callback(&found, sizeof found, data);
}
#else
static uintptr_t restored_by_libgcc(void *context, int number)
{
    return _Unwind_GetGR(context, number);
}

static _Unwind_Reason_Code look_in(struct _Unwind_Context *context, void *unused)
{
    (void)unused;
    uintptr_t pc = _Unwind_GetIP(context);
    void *function = pc ? _Unwind_FindEnclosingFunction((void *)(pc - (stage > 0))) : 0;
    return look(pc, function, restored_by_libgcc, context) ? _URC_END_OF_STACK : _URC_NO_REASON;
}

static void walk(ucontext_t *uc)
{
    (void)uc; /* it finds the context by itself, through the signal frame */
    _Unwind_Backtrace(look_in, 0);
}

extern void __register_frame(void *);
#endif

static void find_tables(void)
{
    ElfW(Ehdr) *header;
    image = (char *)getauxval(AT_SYSINFO_EHDR);
    header = (void *)image;
    found.dlpi_addr = (uintptr_t)image;
    found.dlpi_name = "vdso";
    found.dlpi_phdr = (void *)(image + header->e_phoff);
    found.dlpi_phnum = header->e_phnum;
#ifndef LLVM
    for (int i = 0; i < found.dlpi_phnum; i++)
        if (found.dlpi_phdr[i].p_type == PT_GNU_EH_FRAME) {
            char *tables = image + found.dlpi_phdr[i].p_vaddr;
            int32_t distance;
            memcpy(&distance, tables + 4, 4);
            __register_frame(tables + 4 + distance);
        }
#endif
}

static void on_trap(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    traps++;
    has_result = !info->si_addr;
    stop = PC((ucontext_t *)context);
    wrong = 0;
    stage = frames = bad_column = 0;
    walk(context);
    if (!wrong && stage < 4)
        wrong = stage ? "the chain ends early" : "the unwinder did not come to the handler";
    if (wrong) {
        printf("call %#lx, at %#lx: %s (%d)\n", given[0], (long)PC((ucontext_t *)context) - (long)image, wrong, bad_column);
        fflush(stdout);
    }
}

__attribute__((noinline)) static void attempt(void)
{
    site(given);
    __asm__ volatile("" ::: "memory"); /* no tail call */
}

int main(int argc, char **argv)
{
    stack_t stack = {.ss_sp = malloc(1 << 18), .ss_size = 1 << 18};
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    find_tables();
    sigaltstack(&stack, 0);
    sigaction(SIGTRAP, &action, 0);
    for (int i = 1; i < argc; i++) {
        char *word = argv[i];
        for (int at = 0; at < GIVEN; at++) {
            given[at] = strchr("BDT", *word) ? (unsigned long)buffer : strtoul(word, 0, 16);
            word = strchr(word, ':');
            word = word ? word + 1 : (char *)"0";
        }
        memset(buffer, 0, sizeof buffer);
        if (strchr(argv[i], 'T'))
            buffer[0] = 1;
        if (strchr(argv[i], 'D'))
            for (char *entry = buffer; entry < buffer + sizeof buffer - 40; entry += 40)
                entry[16] = 40, entry[19] = 'x';
        attempt();
    }
    printf("%d signals\n", traps);
    return 0;
}
