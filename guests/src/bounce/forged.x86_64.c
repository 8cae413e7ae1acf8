/* Frames with rflags that are not user space's to have, and a PC that no address space has. What is expected follows
 * from docs/bounce-abi.md and from what Linux makes of such a signal frame.
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

    attack("a forged frame with IOPL and VM");
    end = run_forged(&start, sp, landing, SOME_FLAGS | 0x3000 | 0x20000);
    CHECK(went_to(&end, sp, SOME_FLAGS));

    attack("a forged frame with IF clear");
    end = run_forged(&start, sp, landing, 0);
    CHECK(went_to(&end, sp, NO_FLAGS));

    attack("a forged frame with NT");
    end = run_forged(&start, sp, landing, SOME_FLAGS | 0x4000);
    CHECK(went_to(&end, sp, SOME_FLAGS | 0x4000));

    attack("a forged frame with TF");
    code[64] = 0x90;                        /* nop; nop: the trap comes after the first */
    code[65] = 0x90;
    end = run_forged(&start, sp, (uint64_t)code + 64, SOME_FLAGS | 0x100);
    CHECK(end.signal == SIGTRAP && end.code == TRAP_TRACE && end.now.r[PC] == (uint64_t)code + 65);
    CHECK(end.address == end.now.r[PC] && result(&end) == getpid() && end.now.r[SP] == sp);

    attack("a forged frame with every bit");
    end = run_forged(&start, sp, (uint64_t)code + 64, -1);
    CHECK(end.signal == SIGTRAP && (end.now.r[FLAGS] & ~RF) == ((0x254dd5UL | 0x202) & ~RF));

    attack("a forged frame with a non-canonical rip");
    end = run_forged(&start, sp, 0x800000000000, SOME_FLAGS);
    CHECK(end.signal == SIGSEGV && end.code == SI_KERNEL && end.address == 0);
    CHECK(end.now.r[PC] == 0x800000000000 && end.now.r[SP] == sp && result(&end) == getpid());
    return guest_end();
}
