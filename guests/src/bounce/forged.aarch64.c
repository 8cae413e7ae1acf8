/* Frames with a pstate that is not user space's to have, and an SP with a tag. What is expected follows from
 * docs/bounce-abi.md and from what Linux makes of such a signal frame (arch/arm64/kernel/ptrace.c:valid_user_regs()).
 * guest-native: no
 * guest-abis: bounce */
#include "attack.h"

int main(void)
{
    attack_start();
    find_handler();
    struct registers start;
    struct outcome end;
    uint64_t sp = (uint64_t)stack + 4 * PAGE, landing = (uint64_t)code + CALL_BYTES;

    attack("a forged frame that is sound");
    end = run_forged(&start, sp, landing, SOME_FLAGS);
    CHECK(went_to(&end, sp, SOME_FLAGS));
    CHECK(end.now.r[NUMBER] == 0x123456789);

    attack("a forged frame with privileged pstate bits");
    static const uint64_t privileged[] = {
        1 << 6, 1 << 7, 1 << 8, 1 << 9,     /* F, I, A, D */
        1, 4, 5, 8, 9, 12, 13,              /* EL0 with SP_EL1, EL1t, EL1h, EL2t, EL2h, EL3t, EL3h */
    };
    for (size_t i = 0; i < sizeof privileged / sizeof *privileged; i++) {
        end = run_forged(&start, sp, landing, SOME_FLAGS | privileged[i]);
        CHECK(refused(&start, &end, SIGSEGV, SEGV_ACCERR, start.r[SP]));
    }

    attack("a forged frame with AArch32 state");
    end = run_forged(&start, sp, landing, 0x10);
    CHECK(refused(&start, &end, SIGSEGV, SEGV_ACCERR, start.r[SP]));
    end = run_forged(&start, sp, landing, 0x1f | 0x20);
    CHECK(refused(&start, &end, SIGSEGV, SEGV_ACCERR, start.r[SP]));

    attack("a forged frame with reserved bits");
    end = run_forged(&start, sp, landing, SOME_FLAGS | 0xffffffff0cdfe020);
    CHECK(went_to(&end, sp, SOME_FLAGS));

    attack("a forged frame that asks for single steps");
    end = run_forged(&start, sp, landing, SOME_FLAGS | 1 << 21);
    CHECK(went_to(&end, sp, SOME_FLAGS));

    attack("a signal frame that asks for single steps");
    start = at_getppid();
    start.r[FLAGS] |= 1 << 21;
    end = run(start);
    start.r[FLAGS] = SOME_FLAGS;
    CHECK(returned(&start, &end) && bounced_from(&start));

    attack("write(2) with a privileged frame must write nothing");
    static const int arguments[] = ARGUMENTS;
    int ends[2];
    if (pipe(ends) || fcntl(ends[0], F_SETFL, O_NONBLOCK))
        abort();
    start = at_real(SYS_write | REDIRECT);
    start.r[arguments[0]] = ends[1];
    start.r[arguments[1]] = (uint64_t)"x";
    start.r[arguments[2]] = 1;
    start.r[SP] = (uint64_t)stack + PAGE;
    forged_at = PAGE;
    forged = (struct frame){ 0, sp, landing, 5 };
    end = run_prepared(start, forge);
    CHECK(refused(&start, &end, SIGSEGV, SEGV_ACCERR, start.r[SP]));
    char byte;
    FAILS(read(ends[0], &byte, 1), EAGAIN);

    attack("tagged SP");
    uint64_t low = (uint64_t)stack, tag = 0x5aUL << 56;
    pushed(low + PAGE + tag);
    struct frame *frame = (struct frame *)frame_address(low + PAGE);
    CHECK(frame->sp == low + PAGE + tag);
    CHECK(only_frame_at((uint64_t)frame));
    not_pushed(low - 100 + tag, SEGV_ACCERR, frame_address(low - 100));
    start = at_real(SYS_getppid | REDIRECT);
    start.r[SP] = low + PAGE + tag;
    forged_at = PAGE;
    forged = (struct frame){ 0, low + tag, (uint64_t)code + 4, 0 };
    end = run_prepared(start, forge);
    CHECK(went_to(&end, low + tag, 0));
    return guest_end();
}
