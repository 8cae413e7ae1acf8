/* For LLVM's libunwind, which has no walk from a signal's context. PC() is the includer's. */
/* A cursor on the registers of the context. */
static void start(unw_cursor_t *cursor, unw_context_t *here, ucontext_t *uc)
{
    unw_getcontext(here);
    unw_init_local(cursor, here);
#ifdef __x86_64__
    static const unsigned char order[] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP,
                                          REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    for (int i = 0; i < 16; i++)
        unw_set_reg(cursor, i, uc->uc_mcontext.gregs[order[i]]);
#else
    for (int i = 0; i < 31; i++)
        unw_set_reg(cursor, i, uc->uc_mcontext.regs[i]);
    unw_set_reg(cursor, UNW_REG_SP, uc->uc_mcontext.sp);
#endif
    unw_set_reg(cursor, UNW_REG_IP, PC(uc));
}
