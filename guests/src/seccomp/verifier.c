/* Which programs the kernel takes as filters, and how many: every rule by a program that breaks it, and by one that
 * just does not. net/core/filter.c:bpf_check_classic(), kernel/seccomp.c:seccomp_check_filter(). man 2 seccomp */
#include "filters.h"

#define ALU(operation, source, k) BPF_STMT(BPF_ALU | (operation) | (source), k)
#define JUMP(condition, source, k, jt, jf) BPF_JUMP(BPF_JMP | (condition) | (source), k, jt, jf)
#define STORE(k) BPF_STMT(BPF_ST, k)
#define FETCH(k) BPF_STMT(BPF_LD | BPF_MEM, k)
#define RETURN_A BPF_STMT(BPF_RET | BPF_A, 0)

static size_t length;
static struct sock_filter *filter;
static struct sock_filter room[4097];

static int try_it(void)
{
    errno = 0;
    return install(0, length, filter) ? errno : 0;
}

static void show(const char *what, int error)
{
    printf("%s: %s\n", what, error == 0 ? "taken" : error > 255 ? "killed" : errno_name(error));
}

/* In front stands what allows everything, so that only the verifier looks at what follows. */
static void try_program(const char *what, size_t count, const struct sock_filter *program)
{
    room[0] = (struct sock_filter)ALLOW;
    memcpy(room + 1, program, count * sizeof *program);
    filter = room;
    length = count + 1;
    show(what, in_child(try_it));
}

#define TRY(what, ...) \
    try_program(what, sizeof((struct sock_filter[]){ __VA_ARGS__ }) / sizeof(struct sock_filter), \
                (struct sock_filter[]){ __VA_ARGS__ })

static void loads(void)
{
    TRY("the first word", LOAD(0), ALLOW);
    TRY("the last word", LOAD(60), ALLOW);
    TRY("a word beyond any seccomp_data", LOAD(80), ALLOW);
    TRY("a word far beyond", LOAD(0xfffffffc), ALLOW);
    TRY("a word of the network header", LOAD(SKF_NET_OFF), ALLOW);
    TRY("an ancillary word", LOAD(SKF_AD_OFF + SKF_AD_CPU), ALLOW);
    TRY("offset 1", LOAD(1), ALLOW);
    TRY("offset 2", LOAD(2), ALLOW);
    TRY("offset 63", LOAD(63), ALLOW);
    TRY("a half", BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0), ALLOW);
    TRY("a byte", BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), ALLOW);
    TRY("a double word", BPF_STMT(BPF_LD | 0x18 | BPF_ABS, 0), ALLOW);
    TRY("an indirect word", BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0), ALLOW);
    TRY("an indirect half", BPF_STMT(BPF_LD | BPF_H | BPF_IND, 0), ALLOW);
    TRY("an indirect byte", BPF_STMT(BPF_LD | BPF_B | BPF_IND, 0), ALLOW);
    TRY("a header's length", BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0), ALLOW);
    TRY("X from the data", BPF_STMT(BPF_LDX | BPF_W | BPF_ABS, 0), ALLOW);
    TRY("the length", BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), ALLOW);
    TRY("the length, and k", BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 5), ALLOW);
    TRY("X from the length", BPF_STMT(BPF_LDX | BPF_W | BPF_LEN, 0), ALLOW);
    TRY("the length as a byte", BPF_STMT(BPF_LD | BPF_B | BPF_LEN, 0), ALLOW);
    TRY("constants", BPF_STMT(BPF_LD | BPF_IMM, 0xffffffff), BPF_STMT(BPF_LDX | BPF_IMM, 0xffffffff), ALLOW);
}

static void arithmetic(void)
{
    static const struct { const char *name; unsigned operation; } operations[] = {
        { "add", BPF_ADD }, { "sub", BPF_SUB }, { "mul", BPF_MUL }, { "div", BPF_DIV }, { "or", BPF_OR },
        { "and", BPF_AND }, { "lsh", BPF_LSH }, { "rsh", BPF_RSH }, { "neg", BPF_NEG }, { "mod", BPF_MOD },
        { "xor", BPF_XOR }, { "0xb0", 0xb0 }, { "0xf0", 0xf0 },
    };
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        char what[32];
        snprintf(what, sizeof what, "%s 1", operations[i].name);
        TRY(what, ALU(operations[i].operation, BPF_K, 1), ALLOW);
        snprintf(what, sizeof what, "%s X", operations[i].name);
        TRY(what, ALU(operations[i].operation, BPF_X, 0), ALLOW);
        snprintf(what, sizeof what, "%s 0", operations[i].name);
        TRY(what, ALU(operations[i].operation, BPF_K, 0), ALLOW);
        snprintf(what, sizeof what, "%s 32", operations[i].name);
        TRY(what, ALU(operations[i].operation, BPF_K, 32), ALLOW);
        snprintf(what, sizeof what, "%s -1", operations[i].name);
        TRY(what, ALU(operations[i].operation, BPF_K, 0xffffffff), ALLOW);
    }
    TRY("lsh 31", ALU(BPF_LSH, BPF_K, 31), ALLOW);
    TRY("rsh 31", ALU(BPF_RSH, BPF_K, 31), ALLOW);
    TRY("tax, txa", BPF_STMT(BPF_MISC | BPF_TAX, 0), BPF_STMT(BPF_MISC | BPF_TXA, 0), ALLOW);
    TRY("misc 0x40", BPF_STMT(BPF_MISC | 0x40, 0), ALLOW);
}

static void jumps(void)
{
    TRY("ja 0", BPF_STMT(BPF_JMP | BPF_JA, 0), ALLOW);
    TRY("ja 1 of 1", BPF_STMT(BPF_JMP | BPF_JA, 1), ALLOW);
    TRY("ja back", BPF_STMT(BPF_JMP | BPF_JA, 0xffffffff), ALLOW);
    TRY("ja X", BPF_STMT(BPF_JMP | BPF_JA | BPF_X, 0), ALLOW);
    TRY("jeq", JUMP(BPF_JEQ, BPF_K, 1, 1, 0), ALLOW, ALLOW);
    TRY("jeq X", JUMP(BPF_JEQ, BPF_X, 1, 0, 1), ALLOW, ALLOW);
    TRY("jgt", JUMP(BPF_JGT, BPF_K, 1, 0, 0), ALLOW);
    TRY("jge X", JUMP(BPF_JGE, BPF_X, 1, 0, 0), ALLOW);
    TRY("jset", JUMP(BPF_JSET, BPF_K, 0, 0, 0), ALLOW);
    TRY("jset X", JUMP(BPF_JSET, BPF_X, 0, 0, 0), ALLOW);
    TRY("true past the end", JUMP(BPF_JEQ, BPF_K, 1, 1, 0), ALLOW);
    TRY("false past the end", JUMP(BPF_JEQ, BPF_K, 1, 0, 1), ALLOW);
    TRY("true far past the end", JUMP(BPF_JSET, BPF_X, 1, 255, 0), ALLOW);
    TRY("a jump of eBPF's, not equal", JUMP(0x50, BPF_K, 1, 0, 0), ALLOW);
    TRY("a jump of eBPF's, signed", JUMP(0x60, BPF_K, 1, 0, 0), ALLOW);
    TRY("a call of eBPF's", BPF_STMT(BPF_JMP | 0x80, 1), ALLOW);
    TRY("an exit of eBPF's", BPF_STMT(BPF_JMP | 0x90, 0), ALLOW);
}

static void memory(void)
{
    TRY("M[15] written", STORE(15), ALLOW);
    TRY("M[16] written", STORE(16), ALLOW);
    TRY("M[-1] written", STORE(0xffffffff), ALLOW);
    TRY("M[16] written from X", BPF_STMT(BPF_STX, 16), ALLOW);
    TRY("M[15] read", STORE(15), FETCH(15), ALLOW);
    TRY("M[15] read to X", BPF_STMT(BPF_STX, 15), BPF_STMT(BPF_LDX | BPF_MEM, 15), ALLOW);
    TRY("M[16] read", STORE(15), FETCH(16), ALLOW);
    TRY("another word written", STORE(3), FETCH(2), ALLOW);
    TRY("written on one way", JUMP(BPF_JEQ, BPF_K, 0, 0, 1), STORE(0), FETCH(0), ALLOW);
    TRY("written on both ways", JUMP(BPF_JEQ, BPF_K, 0, 0, 2), STORE(0), BPF_STMT(BPF_JMP | BPF_JA, 1), STORE(0),
        FETCH(0), ALLOW);
    TRY("jumped over", BPF_STMT(BPF_JMP | BPF_JA, 1), STORE(0), FETCH(0), ALLOW);
    TRY("read where nothing leads", BPF_STMT(BPF_JMP | BPF_JA, 1), FETCH(0), ALLOW);
    TRY("read behind a RET", ALLOW, FETCH(0), ALLOW);
    TRY("written before a RET", STORE(0), ALLOW, FETCH(0), ALLOW);
}

static void ends(void)
{
    TRY("RET A", RETURN_A);
    TRY("RET X", BPF_STMT(BPF_RET | BPF_X, 0));
    TRY("no RET at the end", ALLOW, BPF_STMT(BPF_LD | BPF_IMM, 0));
    TRY("ja at the end", BPF_STMT(BPF_JMP | BPF_JA, 0));
    TRY("a code of more than a byte", { 0x100, 0, 0, 0 }, ALLOW);
    TRY("RET and more", { BPF_RET | BPF_K | 0x8000, 0, 0, 0 });
    TRY("jt and jf of no jump", { BPF_LD | BPF_IMM, 255, 255, 0 }, { BPF_RET | BPF_K, 255, 255, SECCOMP_RET_ALLOW });
}

static void lengths(void)
{
    static struct sock_filter program[4097];
    for (int i = 0; i < 4097; i++)
        program[i] = (struct sock_filter)ALLOW;
    filter = program;
    for (int i = 0; i < 4; i++) {
        static const size_t counts[] = { 0, 1, 4096, 4097 };
        char what[32];
        length = counts[i];
        snprintf(what, sizeof what, "%zu instructions", length);
        show(what, in_child(try_it));
    }
    length = 65535;
    show("65535 instructions", in_child(try_it));
    length = 1;
    filter = NULL;
    show("a filter at NULL", in_child(try_it));
    filter = (struct sock_filter *)BAD;
    show("a filter at a bad address", in_child(try_it));
    filter = (struct sock_filter *)WILD;
    show("a filter at a wild address", in_child(try_it));
    char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(pages + PAGE, PAGE);
    filter = (struct sock_filter *)(pages + PAGE - sizeof *filter);
    *filter = (struct sock_filter)ALLOW;
    show("one at the end of a page", in_child(try_it));
    length = 2;
    show("one across it", in_child(try_it));
    filter = (struct sock_filter *)((char *)program + 3);
    memcpy(filter, &(struct sock_filter)ALLOW, sizeof *filter);
    length = 1;
    show("one that is not aligned", in_child(try_it));
}

/* How many programs of `length` instructions a task can have: the limit counts what they become in the kernel. */
static int how_many(void)
{
    int count = 0;
    while (install(0, length, filter) == 0)
        count++;
    return errno == ENOMEM ? count : 255;
}

static void fill(const char *what, struct sock_filter instruction)
{
    static struct sock_filter program[1000];
    for (int i = 0; i < 998; i++)
        program[i] = instruction;
    program[0] = program[998] = program[999] = (struct sock_filter)ALLOW;
    filter = program;
    length = 1000;
    printf("%s: %d\n", what, in_child(how_many));
}

static void total(void)
{
    fill("constants", (struct sock_filter)BPF_STMT(BPF_LD | BPF_IMM, 0));
    fill("loads", (struct sock_filter)LOAD(0));
    fill("returns", (struct sock_filter)ALLOW);
    fill("returns of A", (struct sock_filter)RETURN_A);
    fill("divisions", (struct sock_filter)ALU(BPF_DIV, BPF_X, 0));
    fill("jumps", (struct sock_filter)JUMP(BPF_JEQ, BPF_K, 1, 0, 1));
    fill("jumps both ways", (struct sock_filter)JUMP(BPF_JGT, BPF_K, 1, 1, 1));
    fill("jumps both ways, negative", (struct sock_filter)JUMP(BPF_JGE, BPF_K, 0x80000000, 1, 1));
    fill("jumps on bits", (struct sock_filter)JUMP(BPF_JSET, BPF_X, 0, 0, 1));
    static struct sock_filter longest[4096];
    for (int i = 0; i < 4096; i++)
        longest[i] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_IMM, 0);
    longest[0] = longest[4095] = (struct sock_filter)ALLOW;
    filter = longest;
    length = 4096;
    printf("the longest: %d\n", in_child(how_many));
}

int main(void)
{
    guest_start();
    no_new_privs();
    loads();
    arithmetic();
    jumps();
    memory();
    ends();
    lengths();
    total();
    return guest_end();
}
