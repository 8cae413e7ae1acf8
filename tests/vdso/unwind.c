/* Unwinds from a given instruction of a vDSO handler, with whatever unwinder this is linked with, out to main.
 *
 *     unwind IMAGE CASE...    IMAGE: a file with the image, or - for the vDSO that the kernel mapped
 *     CASE = ENTRY:TRAP:FRAME:NUMBER   enter the handler at offset ENTRY with a frame as a bounce makes it (FRAME: s on
 *                             the stack, p in a page of its own), for call NUMBER, and stop at offset TRAP. FRAME c: call
 *                             it as a C function, with -1 for each argument
 *
 * For each case one line: "unwound", or what was wrong; "unwound, with the result" where the number's register is no
 * longer the number; "returned" when the handler came back to the program without meeting TRAP. The system call is the last instruction of its function, so that what follows is another function, with
 * other unwind rules: an unwinder that looks there goes astray.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef LLVM
#include <libunwind.h>
#else
#include <unwind.h>
#endif

#define CELL 65536UL
#ifndef KNOWN_TO_LIBC
#define KNOWN_TO_LIBC 0
#endif

long site(uintptr_t handler, unsigned long number, uintptr_t frame);
extern char after[];
extern char site_end[];

#ifdef __x86_64__
#define NUMBER_COLUMN 0
#define PC(uc) ((uc)->uc_mcontext.gregs[REG_RIP])
static const unsigned char trap[] = {0xf4}; /* hlt: SIGSEGV, PC at it */
__asm__(".text\n.globl site, after, site_end\n.type site, @function\n.type after, @function\n"
        "site: .cfi_startproc\n"
        "push %rbp\n .cfi_adjust_cfa_offset 8\n .cfi_offset %rbp, -16\n"
        "sub $72, %rsp\n .cfi_adjust_cfa_offset 72\n"
        "mov %rsi, %rax\n"
        "lea -160(%rsp), %rcx\n and $-16, %rcx\n"
        "test %rdx, %rdx\n cmovne %rdx, %rcx\n"
        "pushfq\n .cfi_adjust_cfa_offset 8\n pop %r11\n .cfi_adjust_cfa_offset -8\n"
        "lea after(%rip), %r8\n"
        "mov %rax, (%rcx)\n mov %rsp, 8(%rcx)\n mov %r8, 16(%rcx)\n mov %r11, 24(%rcx)\n"
        "test %rdx, %rdx\n jne 1f\n"
        "mov %rcx, %rsp\n" /* here this function's own rules are wrong: nobody unwinds from here */
        "mov %r8, %rcx\n"
        "1: jmp *%rdi\n"
        "site_end: .cfi_endproc\n .size site, . - site\n"
        "after: .cfi_startproc simple\n .cfi_def_cfa %rsp, 8\n .cfi_undefined %rip\n" /* the end of the chain */
        "add $72, %rsp\n pop %rbp\n ret\n"
        ".cfi_endproc\n .size after, . - after\n");
#else
#define NUMBER_COLUMN 8
#define PC(uc) ((uc)->uc_mcontext.pc)
static const unsigned char trap[] = {0, 0, 0, 0}; /* udf: SIGILL, PC at it */
__asm__(".text\n.globl site, after, site_end\n.type site, %function\n.type after, %function\n"
        "site: .cfi_startproc\n"
        "sub sp, sp, #80\n .cfi_def_cfa_offset 80\n" /* a leaf: its return address stays in x30 */
        "sub x9, sp, #32\n and x9, x9, #~15\n"
        "cmp x2, #0\n csel x9, x2, x9, ne\n"
        "mov x10, sp\n adr x11, after\n mrs x12, nzcv\n"
        "str x1, [x9]\n stp x10, x11, [x9, #8]\n str x12, [x9, #24]\n"
        "mov x8, x1\n mov w1, w1\n"
        "cbnz x2, 1f\n mov sp, x9\n b 2f\n"
        "1: lsl x8, x9, #16\n orr x8, x8, x1\n"
        "2: br x0\n"
        "site_end: .cfi_endproc\n .size site, . - site\n"
        "after: .cfi_startproc\n .cfi_def_cfa sp, 0\n .cfi_undefined 30\n" /* the end of the chain */
        "add sp, sp, #80\n ret\n"
        ".cfi_endproc\n .size after, . - after\n");
#endif

static char *image;
static size_t image_bytes;
static struct dl_phdr_info found;
static sigjmp_buf back;
static uintptr_t stop, number_seen;
static const char *verdict;
static int stage, frames;
static unsigned long number;
static int as_function;

__attribute__((noinline)) static void called(uintptr_t function)
{
    ((long (*)(long, long, long, long, long, long))function)(-1, -1, -1, -1, -1, -1);
    __asm__ volatile("" ::: "memory"); /* no tail call */
}

int main(int argc, char **argv);
static void attempt(uintptr_t handler, uintptr_t frame);

/* One frame further out: where it is, the start of its function, and the call's number as the unwinder restored it. */
static int look(uintptr_t pc, void *function, uintptr_t restored)
{
    if (getenv("UNWIND_VERBOSE"))
        printf("  pc %#lx function %p\n", (unsigned long)pc, function);
    if (++frames > 64) {
        verdict = "an endless chain";
    } else if (stage == 0) {
        stage += pc == stop;
    } else if (!pc) {
        return 1;
    } else if (stage == 1) {
        if (!as_function && pc != (uintptr_t)after)
            verdict = "the caller's PC is wrong";
        else if (function != (as_function ? (void *)called : (void *)site))
            verdict = "the caller is wrong";
        number_seen = restored;
        stage = 2;
    } else if (stage == 2) {
        if (function != (void *)attempt)
            verdict = "the caller's caller is wrong";
        stage = 3;
    } else {
        if (function != (void *)main)
            verdict = "main was not reached";
        stage = 4;
    }
    return verdict || stage == 4;
}

#ifdef LLVM
#include "cursor.h"

static void walk(ucontext_t *uc)
{
    unw_context_t here;
    unw_cursor_t cursor;
    start(&cursor, &here, uc);
    do {
        unw_word_t pc, restored;
        unw_proc_info_t info = {0};
        unw_get_reg(&cursor, UNW_REG_IP, &pc);
        unw_get_reg(&cursor, NUMBER_COLUMN, &restored);
        unw_get_proc_info(&cursor, &info);
        if (look(pc, (void *)info.start_ip, restored))
            return;
    } while (unw_step(&cursor) > 0);
}

/* LLVM's libunwind asks this for the tables: the program's, and the image's. */
static void find_program(struct dl_phdr_info *info)
{
    info->dlpi_phdr = (void *)getauxval(AT_PHDR);
    info->dlpi_phnum = getauxval(AT_PHNUM);
    info->dlpi_name = "";
    info->dlpi_addr = 0;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_PHDR)
            info->dlpi_addr = (uintptr_t)info->dlpi_phdr - info->dlpi_phdr[i].p_vaddr;
}

int dl_iterate_phdr(int (*callback)(struct dl_phdr_info *, size_t, void *), void *data)
{
    struct dl_phdr_info program;
    memset(&program, 0, sizeof program);
    find_program(&program);
    program.dlpi_adds = found.dlpi_adds = 2;
    int result = callback(&program, sizeof program, data);
    return result ? result : callback(&found, sizeof found, data);
}

static void find_tables(void)
{
}
#else
static _Unwind_Reason_Code look_in(struct _Unwind_Context *context, void *unused)
{
    (void)unused;
    uintptr_t pc = _Unwind_GetIP(context);
    return look(pc, pc ? _Unwind_FindEnclosingFunction((void *)(pc - (stage > 0))) : 0,
                stage == 1 ? _Unwind_GetGR(context, NUMBER_COLUMN) : 0) ? _URC_END_OF_STACK : _URC_NO_REASON;
}

static void walk(ucontext_t *uc)
{
    (void)uc; /* it finds the context by itself, through the signal frame */
    _Unwind_Backtrace(look_in, 0);
}

/* libgcc asks glibc, which knows what it has loaded itself, the vDSO among it where it is linked dynamically. */
static void find_tables(void)
{
    extern void __register_frame(void *);
    if (KNOWN_TO_LIBC)
        return;
    for (int i = 0; i < found.dlpi_phnum; i++)
        if (found.dlpi_phdr[i].p_type == PT_GNU_EH_FRAME) {
            char *header = image + found.dlpi_phdr[i].p_vaddr;
            int32_t distance;
            memcpy(&distance, header + 4, 4);
            __register_frame(header + 4 + distance);
        }
}
#endif

static void on_trap(int sig, siginfo_t *info, void *context)
{
    (void)sig, (void)info;
    if ((uintptr_t)PC((ucontext_t *)context) != stop) {
        verdict = "stopped elsewhere";
    } else {
        verdict = 0;
        stage = frames = 0;
        walk(context);
        if (!verdict && stage == 0)
            verdict = "the unwinder did not come to the handler";
        if (!verdict && stage == 1)
            verdict = "the chain ends at the handler";
        if (!verdict && stage < 4)
            verdict = "the chain ends early";
        if (!verdict && !as_function && (uint32_t)number_seen != (uint32_t)number)
            verdict = "unwound, with the result";
        if (!verdict)
            verdict = "unwound";
    }
    siglongjmp(back, 1);
}

__attribute__((noinline)) static void attempt(uintptr_t handler, uintptr_t frame)
{
    if (as_function)
        called(handler);
    else
        site(handler, number, frame);
    __asm__ volatile("" ::: "memory"); /* no tail call */
}

static void open_image(const char *name)
{
    if (!strcmp(name, "-")) {
        image = (char *)getauxval(AT_SYSINFO_EHDR);
        if (image) {
            ElfW(Phdr) *loaded = (void *)(image + ((ElfW(Ehdr) *)image)->e_phoff);
            image_bytes = (loaded->p_memsz + 4095) & -4096UL;
        }
    } else {
        struct stat st;
        int fd = open(name, O_RDONLY);
        if (fd < 0 || fstat(fd, &st))
            exit(2);
        image_bytes = st.st_size;
        image = mmap(0, image_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    }
    if (!image || mprotect(image, image_bytes, PROT_READ | PROT_WRITE | PROT_EXEC))
        exit(3);
    ElfW(Ehdr) *header = (void *)image;
    found.dlpi_addr = (uintptr_t)image;
    found.dlpi_name = "vdso";
    found.dlpi_phdr = (void *)(image + header->e_phoff);
    found.dlpi_phnum = header->e_phnum;
    find_tables();
}

int main(int argc, char **argv)
{
    open_image(argv[1]);
    char *block = mmap(0, 2 * CELL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uintptr_t page = ((uintptr_t)block + CELL - 1) & -CELL;
    stack_t stack = {.ss_sp = malloc(1 << 18), .ss_size = 1 << 18};
    sigaltstack(&stack, 0);
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &action, 0);
    sigaction(SIGILL, &action, 0);
    sigaction(SIGTRAP, &action, 0);
    for (int i = 2; i < argc; i++) {
        unsigned long entry, at;
        char kind;
        if (sscanf(argv[i], "%lx:%lx:%c:%lx", &entry, &at, &kind, &number) != 4)
            return 4;
        as_function = kind == 'c';
        unsigned char kept[sizeof trap];
        memcpy(kept, image + at, sizeof trap);
        memcpy(image + at, trap, sizeof trap);
        __builtin___clear_cache(image + at, image + at + sizeof trap);
        stop = (uintptr_t)(image + at);
        if (!sigsetjmp(back, 1)) {
            attempt((uintptr_t)image + entry, kind == 'p' ? page : 0);
            verdict = "returned";
        }
        memcpy(image + at, kept, sizeof trap);
        __builtin___clear_cache(image + at, image + at + sizeof trap);
        printf("%s %s\n", argv[i], verdict);
        fflush(stdout);
    }
    return 0;
}
