"""include/uapi/asm-generic/signal.h, siginfo.h, linux/signal.h; the same on both architectures."""

from __future__ import annotations

import struct
from typing import Final

SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGUSR1 = range(1, 11)
SIGSEGV, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGSTKFLT, SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP = range(11, 21)
SIGTTIN, SIGTTOU, SIGURG, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGWINCH, SIGIO, SIGPWR, SIGSYS = range(21, 32)
SIGRTMIN: Final = 32
SIGRTMAX: Final = 64
NSIG: Final = 64
SIGSET_BYTES: Final = 8

SIG_DFL: Final = 0
SIG_IGN: Final = 1

SIG_BLOCK: Final = 0
SIG_UNBLOCK: Final = 1
SIG_SETMASK: Final = 2

SA_NOCLDSTOP: Final = 0x0000_0001
SA_NOCLDWAIT: Final = 0x0000_0002
SA_SIGINFO: Final = 0x0000_0004
SA_UNSUPPORTED: Final = 0x0000_0400
SA_EXPOSE_TAGBITS: Final = 0x0000_0800
SA_IMMUTABLE: Final = 0x0080_0000
"""Linux's own: the signal ends the process, and no tracer sees it."""
SA_RESTORER: Final = 0x0400_0000
SA_ONSTACK: Final = 0x0800_0000
SA_RESTART: Final = 0x1000_0000
SA_NODEFER: Final = 0x4000_0000
SA_RESETHAND: Final = 0x8000_0000
UAPI_SA_FLAGS: Final = (
    SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER | SA_RESETHAND
    | SA_EXPOSE_TAGBITS | SA_RESTORER
)  # fmt: skip

SS_ONSTACK: Final = 1
SS_DISABLE: Final = 2
SS_AUTODISARM: Final = 1 << 31

SI_USER: Final = 0
SI_KERNEL: Final = 0x80
SI_QUEUE: Final = -1
SI_TIMER: Final = -2
SI_TKILL: Final = -6
ILL_ILLOPC: Final = 1
ILL_ILLOPN: Final = 2
FPE_INTDIV: Final = 1
SEGV_MAPERR: Final = 1
SEGV_ACCERR: Final = 2
BUS_ADRALN: Final = 1
BUS_ADRERR: Final = 2
TRAP_BRKPT: Final = 1
TRAP_TRACE: Final = 2
SYS_SECCOMP: Final = 1
SYS_USER_DISPATCH: Final = 2

ITIMER_REAL: Final = 0
ITIMER_VIRTUAL: Final = 1
ITIMER_PROF: Final = 2

# struct sigaction (of the kernel): handler, flags, restorer, mask
SIGACTION: Final = struct.Struct("<QQQQ")
SIGSET: Final = struct.Struct("<Q")
# stack_t: ss_sp, ss_flags, ss_size
STACK_T: Final = struct.Struct("<Qi4xQ")
ITIMERVAL: Final = struct.Struct("<qqqq")
SIGINFO_BYTES: Final = 128
KERNEL_SIGINFO_BYTES: Final = 48


def sigmask(*signals: int) -> int:
    """A mask with bit n-1 set for each signal n."""
    mask = 0
    for signal in signals:
        mask |= 1 << signal - 1
    return mask


UNBLOCKABLE: Final = sigmask(SIGKILL, SIGSTOP)
STOP_MASK: Final = sigmask(SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU)
IGNORE_MASK: Final = sigmask(SIGCONT, SIGCHLD, SIGWINCH, SIGURG)
COREDUMP_MASK: Final = sigmask(SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGFPE, SIGSEGV, SIGBUS, SIGSYS, SIGXCPU, SIGXFSZ)
SYNCHRONOUS_MASK: Final = sigmask(SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS)
