// The handler that serves calls in user space (docs/hack3.md): the frame is at sp, and from sp + 32 on there is room.
// All calls that are served go the same way: the arguments are saved there, a routine leaves the result in x0, and
// userspace_done goes back by the number-less return. Of registers a routine may change x8 and x0 to x3, one of the
// glue x4 and x5 too. From sp + 88 on there are 32 bytes for what a call of the glue tells.
//
// Before its result is final a routine must only do what may be done again: a signal, or the loss of the CPU, puts the
// task back at the program's instruction. From its last store on a signal finds the bounce over.

    .align 16
    .func __kernel_bounce_userspace UABI_1
    .handler userspace
    .rewind
    .cfi cfa=*(sp+8) x17=*(sp+16) pc=*(sp+16) x8=*(sp)
    str x3, [sp, #56]               // what a routine may change
    .rewind x3=56
    .cfi + x3=*(sp+56)
    lsr w3, w8, #ROUTINE_BITS       // beyond these bits there is no routine; flags that changed would cost the kernel
    cbnz w3, userspace_back         // the call as it is
    adr x3, routines                // two bytes for each number
    ldrh w8, [x3, w8, uxtw #1]      // how far behind userspace_plain its routine is
    cbz w8, userspace_back          // there is none: the call as it is
    stp x0, x1, [sp, #32]           // what a routine may change
    str x2, [sp, #48]               // likewise
    stp x4, x5, [sp, #64]           // likewise
    adr x3, userspace_plain         // what that is counted from
    add x8, x3, x8                  // the routine
    ldr x3, [sp, #56]               // the program's again
    br x8                           // the number is in the frame
userspace_back:
    ldr x3, [sp, #56]               // the program's again
    .rewind
    .cfi cfa=*(sp+8) x17=*(sp+16) pc=*(sp+16) x8=*(sp)
userspace_plain:
    ldr x8, [sp]                    // the number as made
    orr w8, w8, #REDIRECT           // and the flag that ends the bounce
    svc #0                          // the kernel takes the frame off, then makes the call for the program
    .finish
    brk #BROKEN                     // nothing comes back here

// A variable in the task's own page, or one that this leads to.
    .rewind x0=32 x1=40 x2=48 x3=56
    .cfi + x0=*(sp+32) x1=*(sp+40) x2=*(sp+48) x3=*(sp+56)
serve_variable:
    mrs x8, tpidrro_el0             // where the task's page is, above its first 28 bits
    lsr x8, x8, #28                 // the page's number
    cbz x8, userspace_back          // nowhere: the kernel has the variables
    lsl x8, x8, #12                 // the page
    ldr w3, [sp]                    // the number
    cmp w3, #NR_rt_sigprocmask      // which call?
    b.eq serve_rt_sigprocmask       // this
    cmp w3, #NR_umask               // or
    b.eq serve_umask                // this
    cmp w3, #NR_personality         // or
    b.eq serve_personality          // this
    cmp w3, #NR_set_robust_list     // or
    b.eq serve_set_robust_list      // this
    cmp w3, #NR_get_robust_list     // or
    b.eq serve_get_robust_list      // this
    cmp w0, #PR_SET_PDEATHSIG       // it is prctl
    b.eq serve_set_pdeathsig        // the signal at the parent's end
    cmp w0, #PR_GET_PDEATHSIG       // or
    b.eq serve_get_pdeathsig        // its number
    cmp w0, #PR_SET_TIMERSLACK      // or
    b.eq serve_set_timerslack       // how late a timer may be
    cmp w0, #PR_GET_TIMERSLACK      // or
    b.ne userspace_back             // another option
    ldr x0, [x8, #VTASK_TIMER_SLACK_NS] // the result
    .finish x1=40 x2=48 x3=56
    b userspace_done                // is there

    .rewind x0=32 x1=40 x2=48 x3=56
args_back:
    ldp x0, x1, [sp, #32]           // the program's again
    ldr x2, [sp, #48]               // likewise
    b userspace_back                // make the call

// The mask that was is kept beside the frame: whoever is stopped between the two stores gets it back.
serve_rt_sigprocmask:
    ldr x3, [sp, #56]               // sigsetsize
    cmp x3, #SIGSET_BYTES           // the only size there is
    b.ne userspace_back             // the kernel says EINVAL
    orr x3, x1, x2                  // both pointers
    lsr x3, x3, #56                 // bits that loads and stores ignore
    cbnz x3, userspace_back         // the kernel knows what they mean
    ldr x3, [x8, #VTASK_BLOCKED]    // the mask
    and x3, x3, #NOT_SIGKILL        // which can't be in it
    and x3, x3, #NOT_SIGSTOP        // nor this
    str x3, [sp, #88]               // to go back to
    cbz x1, serve_old_mask          // no new one
    ldr x1, [x1]                    // *set
    cmp w0, #SIG_SETMASK            // how?
    b.eq serve_set_mask             // it is the mask
    cmp w0, #SIG_UNBLOCK            // or
    b.eq serve_unblock              // what no longer is in it
    cbnz w0, args_back              // nor SIG_BLOCK: the kernel says EINVAL
    orr x1, x1, x3                  // beside what is in it
    b serve_set_mask                // that is the mask
serve_unblock:
    bic x1, x3, x1                  // what is left
serve_set_mask:
    and x1, x1, #NOT_SIGKILL        // without those that can't be blocked
    and x1, x1, #NOT_SIGSTOP        // likewise
    ldr x0, [x8, #VTASK_PENDING]    // what may be pending
    bic x0, x0, x1                  // and comes through
    cbnz x0, args_back              // the kernel delivers it
    cbz x2, serve_mask_alone        // is the old one asked for?
    str x1, [x8, #VTASK_BLOCKED]    // the new mask
    .rewind x0=32 x1=40 x2=48 x3=56 sigmask=88
    mov x0, #0                      // the result
    str x3, [x2]                    // *oldset
    .finish x1=40 x2=48 x3=56
    b userspace_done                // the result is there
    .rewind x0=32 x1=40 x2=48 x3=56
serve_mask_alone:
    mov x0, #0                      // the result
    str x1, [x8, #VTASK_BLOCKED]    // the new mask
    .finish x1=40 x2=48 x3=56
    b userspace_done                // the result is there
    .rewind x0=32 x1=40 x2=48 x3=56
serve_old_mask:
    mov x0, #0                      // the result
    cbz x2, userspace_done          // it is not asked for
    str x3, [x2]                    // *oldset
    .finish x1=40 x2=48 x3=56
    b userspace_done                // the result is there

    .rewind x0=32 x1=40 x2=48 x3=56
serve_umask:
    ldr x8, [x8, #VTASK_FS_PAGE]    // the page of all that share the mask
    cbz x8, userspace_back          // there is none
    and w1, w0, #UMASK_BITS         // the bits of the new mask that count
    ldr w0, [x8, #VFS_UMASK]        // the old one; whoever loses the CPU here begins again
    str w1, [x8, #VFS_UMASK]        // the new one
    .finish x1=40 x2=48 x3=56
    b userspace_done                // the result is there

    .rewind x0=32 x1=40 x2=48 x3=56
serve_personality:
    mov w1, w0                      // the new one
    cmn w0, #1                      // only asked for?
    and w2, w0, #PER_MASK           // the kind of program
    ldr w0, [x8, #VTASK_PERSONALITY] // the old one: the result
    b.eq userspace_done             // it is there
    cmp w2, #PER_LINUX32            // which this CPU can't do
    b.eq args_back                  // the kernel says EINVAL
    str w1, [x8, #VTASK_PERSONALITY] // the new one
    .finish x1=40 x2=48 x3=56
    b userspace_done                // the result is there

    .rewind x0=32 x1=40 x2=48 x3=56
serve_set_robust_list:
    cmp x1, #ROBUST_LIST_HEAD_BYTES // the only size there is
    b.ne userspace_back             // the kernel says EINVAL
    mov x1, x0                      // the head of the list
    mov x0, #0                      // the result
    str x1, [x8, #VTASK_ROBUST_LIST] // set
    .finish x1=40 x2=48 x3=56
    b userspace_done                // the result is there

    .rewind x0=32 x1=40 x2=48 x3=56
serve_get_robust_list:
    cbnz w0, userspace_back         // another task's: the kernel knows whether that may be told
    orr x3, x1, x2                  // both pointers
    lsr x3, x3, #56                 // bits that loads and stores ignore
    cbnz x3, userspace_back         // the kernel knows what they mean
    ldr x3, [x8, #VTASK_ROBUST_LIST] // the head of the list
    mov x8, #ROBUST_LIST_HEAD_BYTES // its size
    str x8, [x2]                    // always the same
    mov x0, #0                      // the result
    str x3, [x1]                    // *head_ptr
    .finish x1=40 x2=48 x3=56
    b userspace_done                // the result is there

    .rewind x0=32 x1=40 x2=48 x3=56
serve_set_pdeathsig:
    cmp x1, #LAST_SIGNAL            // a signal's number, or 0 for none?
    b.hi userspace_back             // no: the kernel says EINVAL
    mov x0, #0                      // the result
    str w1, [x8, #VTASK_PDEATH_SIGNAL] // the signal
    .finish x1=40 x2=48 x3=56
    b userspace_done                // the result is there

    .rewind x0=32 x1=40 x2=48 x3=56
serve_get_pdeathsig:
    lsr x3, x1, #56                 // bits that loads and stores ignore
    cbnz x3, userspace_back         // the kernel knows what they mean
    ldr w3, [x8, #VTASK_PDEATH_SIGNAL] // the signal
    mov x0, #0                      // the result
    str w3, [x1]                    // the number
    .finish x1=40 x2=48 x3=56
    b userspace_done                // the result is there

    .rewind x0=32 x1=40 x2=48 x3=56
serve_set_timerslack:
    cmp x1, #0                      // more than 0?
    b.le userspace_back             // no: the kernel has the default
    mov x0, #0                      // the result
    str x1, [x8, #VTASK_TIMER_SLACK_NS] // in ns
    .finish x1=40 x2=48 x3=56
    b userspace_done                // the result is there

// Glue: calls that others can make. Up to that call nothing is done that may not be done again. A bad pointer is
// EFAULT.
    .rewind x0=32 x1=40 x2=48 x3=56 x4=64 x5=72 fault=glue_fault
    .cfi + x4=*(sp+64) x5=*(sp+72)
    .glue

glue_wait4:
    mov w4, #0xb                    // WNOHANG, WUNTRACED, WCONTINUED
    movk w4, #0xe000, lsl #16       // __WNOTHREAD, __WALL, __WCLONE
    bic w4, w2, w4                  // options that waitid alone has
    cbnz w4, glue_inval             // EINVAL
    mov x4, x3                      // rusage
    orr w3, w2, #4                  // WEXITED
    add x2, sp, #88                 // siginfo
    mov w1, w0                      // whose child
    mov x0, #0                      // P_ALL
    cmn w1, #1                      // any?
    b.eq wait4_call                 // yes
    mov x0, #1                      // P_PID
    cmp w1, #0                      // a process?
    b.gt wait4_call                 // yes
    mov x0, #2                      // P_PGID: 0 is the caller's own
    negs w1, w1                     // or that of this number
    b.vs glue_srch                  // which has no opposite
wait4_call:
    mov x8, #NR_waitid              // the newer call
    svc #0                          // from here on there is no way back
    .returns
    .tail fault=tail_fault
    cbnz x0, tail_done              // an error
    ldr w0, [sp, #104]              // si_pid: the child, and the result
    ldr x1, [sp, #40]               // where its status is wanted
    cbz w0, tail_done               // there is none: WNOHANG
    cbz x1, tail_done               // it is not wanted
    ldr w2, [sp, #112]              // si_status
    ldr w3, [sp, #96]               // si_code
    cmp w3, #6                      // CLD_CONTINUED
    b.eq wait4_continued            // a number of its own
    cmp w3, #3                      // CLD_DUMPED
    b.eq wait4_dumped               // a signal and a bit
    cmp w3, #2                      // CLD_KILLED
    b.eq wait4_status               // the signal
    lsl w2, w2, #8                  // how it exited, or by what it stopped
    cmp w3, #1                      // CLD_EXITED
    b.eq wait4_status               // this is all
    orr w2, w2, #0x7f               // stopped
    b wait4_status                  // this is all
wait4_continued:
    mov w2, #0xffff                 // that
    b wait4_status                  // this is all
wait4_dumped:
    orr w2, w2, #0x80               // with a core
wait4_status:
    str w2, [x1]                    // *wstatus
tail_done:
    .finish x1=40 x2=48 x3=56 x4=64 x5=72
    b glue_returns                  // the result is there
    .tail
tail_fault:
    mov x0, #-14                    // EFAULT, though the call has been made
    b tail_done                     // the result is there

    .rewind x0=32 x1=40 x2=48 x3=56 x4=64 x5=72
glue_fault:
    mov x0, #-14                    // EFAULT
    .finish x1=40 x2=48 x3=56 x4=64 x5=72
    b glue_refuses                  // the result is there
    .rewind x0=32 x1=40 x2=48 x3=56 x4=64 x5=72
glue_inval:
    mov x0, #-22                    // EINVAL
    .finish x1=40 x2=48 x3=56 x4=64 x5=72
    b glue_refuses                  // the result is there
    .rewind x0=32 x1=40 x2=48 x3=56 x4=64 x5=72
glue_badf:
    mov x0, #-9                     // EBADF
    .finish x1=40 x2=48 x3=56 x4=64 x5=72
    b glue_refuses                  // the result is there
    .rewind x0=32 x1=40 x2=48 x3=56 x4=64 x5=72
glue_srch:
    mov x0, #-3                     // ESRCH
    .finish x1=40 x2=48 x3=56 x4=64 x5=72
    b glue_refuses                  // the result is there
    .rewind x0=32 x1=40 x2=48 x3=56 x4=64 x5=72 fault=glue_fault
glue_call:
    svc #0                          // not flagged: it comes back
    .returns
    .finish x1=40 x2=48 x3=56 x4=64 x5=72
glue_returns:
    cmp w8, #NR_restart_syscall     // a sleep that was stopped and continued?
    b.ne glue_restores              // no
    str x8, [sp]                    // it leaves its number behind, as without the bounce
glue_restores:
    ldr x1, [sp, #40]               // the program's again
    ldp x2, x3, [sp, #48]           // likewise
    ldp x4, x5, [sp, #64]           // likewise
    .finish
    .cfi cfa=*(sp+8) x17=*(sp+16) pc=*(sp+16) x8=*(sp)
    mov w8, #NO_CALL                // a number that stands for no call at all
    svc #0                          // the frame is taken off, and x0 stays
    .untimed
    .cfi cfa=*(sp+8) x17=*(sp+16) pc=*(sp+16) x8=*(sp) x1=*(sp+40) x2=*(sp+48) x3=*(sp+56) x4=*(sp+64) x5=*(sp+72)
    brk #BROKEN                     // nothing comes back here

// No call was made.
    .finish x1=40 x2=48 x3=56 x4=64 x5=72
glue_refuses:
    ldp x4, x5, [sp, #64]           // the program's again
    .finish x1=40 x2=48 x3=56
    .cfi cfa=*(sp+8) x17=*(sp+16) pc=*(sp+16) x8=*(sp) x0=*(sp+32) x1=*(sp+40) x2=*(sp+48) x3=*(sp+56)

// x0 is the result.
userspace_done:
    ldr x1, [sp, #24]               // the program's flags
    msr nzcv, x1                    // again: the kernel has less to do where it finds them so
    ldr x1, [sp, #40]               // the program's again
    ldp x2, x3, [sp, #48]           // likewise
    .finish
    .cfi cfa=*(sp+8) x17=*(sp+16) pc=*(sp+16) x8=*(sp)
    mov w8, #NO_CALL                // a number that stands for no call at all
    svc #0                          // the frame is taken off, and x0 stays
    brk #BROKEN                     // nothing comes back here

    .include answers.inc
    .endfunc

    .routines routines
    .zeros empty_string 1
