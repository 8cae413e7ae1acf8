/* The edges of the vDSO: a call in the last word before it bounces, one in its last word is real; and where a handler
 * ends with its call in the last word, that is real too. The check as the slide has it (--bounce-check slide), which
 * compares the PC behind the instruction, is wrong at all of these: tests/bounce/test_attacks.py runs this guest so and
 * keeps what it says then. Linux has no bounce, so what is expected here follows from docs/bounce-abi.md.
 * guest-native: no
 * guest-abis: bounce */
#include "attack.h"

static uint8_t *room;                       /* the vDSO is moved to its second page, the last is behind it */
static uint8_t *end_of_vdso;
static long offset;                         /* of the handler in the vDSO */
static uint8_t last_words[16];              /* what the vDSO ends with */
static size_t last_bytes;

#ifdef __aarch64__
static void jump(uint8_t *from, uint8_t *to)
{
    uint32_t b = 0x14000000 | ((to - from) / 4 & 0x3ffffff);
    memcpy(from, &b, 4);
}

/* A handler that goes on at `target` for getppid, and is as it was for the rest. */
static void write_handler(uint8_t *at, uint8_t *target)
{
    uint32_t words[] = {
        0x71000000 | SYS_getppid << 10 | 8 << 5 | 31,               /* cmp w8, #getppid */
        0x54000000 | (((target - (at + 4)) / 4) & 0x7ffff) << 5,    /* b.eq target */
        0x32030108,                                                 /* orr w8, w8, #REDIRECT */
    };
    memcpy(at, words, sizeof words);
    memcpy(at + sizeof words, CALL, CALL_BYTES);
}
#define FLAG_IT "\x08\x01\x03\x32"          /* orr w8, w8, #REDIRECT */
#else
static void jump(uint8_t *from, uint8_t *to)
{
    int32_t distance = to - (from + 5);
    *from = 0xe9;
    memcpy(from + 1, &distance, 4);
}

static void write_handler(uint8_t *at, uint8_t *target)
{
    uint32_t number = SYS_getppid;
    int32_t distance = target - (at + 11);
    memcpy(at, "\x3d", 1);                  /* cmp eax, getppid */
    memcpy(at + 1, &number, 4);
    memcpy(at + 5, "\x0f\x84", 2);          /* je target */
    memcpy(at + 7, &distance, 4);
    memcpy(at + 11, "\x0d\0\0\0\x20" CALL, 7);  /* or eax, REDIRECT; syscall */
}
#define FLAG_IT "\x0d\0\0\0\x20"            /* or eax, REDIRECT */
#endif

/* A vDSO of our own between two pages of ours: traps before and behind it, and at its start. */
static void rebuild(void)
{
    mremap(vdso, vdso_size, vdso_size, MREMAP_MAYMOVE | MREMAP_FIXED, room + PAGE);
    mprotect(room + PAGE, vdso_size, RWX);
    memcpy(room + PAGE - CALL_BYTES, CALL, CALL_BYTES);
    memcpy(room + PAGE, TRAP, TRAP_BYTES);
    memcpy(end_of_vdso - last_bytes, last_words, last_bytes);
    memcpy(end_of_vdso, TRAP, TRAP_BYTES);
}

/* The same with a handler that ends with the last words. */
static void rebuild_handler(void)
{
    rebuild();
    write_handler(room + PAGE + 64, end_of_vdso - last_bytes);      /* where the program headers were */
    jump(room + PAGE + offset, room + PAGE + 64);
}

static void end_with(const void *words, size_t bytes)
{
    memcpy(last_words, words, bytes);
    last_bytes = bytes;
}

/* Of one getppid: where did it return to, with what and with which SP, and how often did it bounce? */
static void tell(struct registers start, void (*prepare)(void))
{
    struct outcome end = run_prepared(start, prepare);
    uint64_t pc = end.now.r[PC];
    if (end.signal == SIGILL)
        printf("%s %s, SP is %s", result(&end) == getpid() ? "the parent's number" : result(&end) == -ENOSYS ? "ENOSYS" : "?",
               pc == (uint64_t)room + PAGE ? "at the start of the vDSO" : pc == (uint64_t)end_of_vdso ? "behind the vDSO" :
               pc == (uint64_t)code + CALL_BYTES ? "behind the call" : "elsewhere",
               end.now.r[SP] == start.r[SP] ? "the program's" : "the frame's");
    else
        printf("signal %d, code %d, %ld bytes below the stack", end.signal, end.code, (long)((uint64_t)stack - end.address));
    puts(stack_untouched() ? "; no bounce" : bounced_from(&start) ? "; one bounce" : "; bounces all the way down");
}

int main(void)
{
    attack_start();
    find_handler();
    offset = handler - vdso;
    room = map(vdso_size + 2 * PAGE, RWX, MAP_PRIVATE);
    end_of_vdso = room + PAGE + vdso_size;
    struct registers start = at_getppid();

    attack("svc in the last word before the vDSO");
    start.r[PC] = (uint64_t)room + PAGE - CALL_BYTES;
    tell(start, rebuild);

    attack("svc in the last word of the vDSO");
    end_with(CALL, CALL_BYTES);
    start.r[PC] = (uint64_t)end_of_vdso - CALL_BYTES;
    tell(start, rebuild);

    attack("a handler that ends with svc in the last word of the vDSO");
    start.r[PC] = (uint64_t)code;
    tell(start, rebuild_handler);

    attack("a handler that ends with a flagged svc in the last word of the vDSO");
    end_with(FLAG_IT CALL, sizeof FLAG_IT CALL - 1);
    tell(start, rebuild_handler);

    puts("ok");
    return 0;
}
