"""include/uapi/linux/prctl.h."""

from __future__ import annotations

from typing import Final

PR_SET_PDEATHSIG: Final = 1
PR_GET_PDEATHSIG: Final = 2
PR_GET_DUMPABLE: Final = 3
PR_SET_DUMPABLE: Final = 4
PR_GET_KEEPCAPS: Final = 7
PR_SET_KEEPCAPS: Final = 8
PR_GET_TIMING: Final = 13
PR_SET_TIMING: Final = 14
PR_SET_NAME: Final = 15
PR_GET_NAME: Final = 16
PR_GET_SECCOMP: Final = 21
PR_SET_SECCOMP: Final = 22
PR_CAPBSET_READ: Final = 23
PR_CAPBSET_DROP: Final = 24
PR_GET_TSC: Final = 25
PR_SET_TSC: Final = 26
PR_TSC_ENABLE: Final = 1
PR_GET_SECUREBITS: Final = 27
PR_SET_SECUREBITS: Final = 28
PR_SET_TIMERSLACK: Final = 29
PR_GET_TIMERSLACK: Final = 30
PR_TASK_PERF_EVENTS_DISABLE: Final = 31
PR_TASK_PERF_EVENTS_ENABLE: Final = 32
PR_MCE_KILL: Final = 33
PR_MCE_KILL_CLEAR: Final = 0
PR_MCE_KILL_SET: Final = 1
PR_MCE_KILL_DEFAULT: Final = 2
PR_MCE_KILL_GET: Final = 34
PR_SET_MM: Final = 35
PR_SET_MM_AUXV: Final = 12
PR_SET_MM_MAP: Final = 14
PR_SET_MM_MAP_SIZE: Final = 15
PR_SET_MM_FIELDS: Final = {
    1: "start_code", 2: "end_code", 3: "start_data", 4: "end_data", 5: "start_stack", 6: "start_brk", 7: "brk",
    8: "arg_start", 9: "arg_end", 10: "env_start", 11: "env_end",
}  # fmt: skip
"""PR_SET_MM_* to the field of `MemoryMap`."""
PR_SET_CHILD_SUBREAPER: Final = 36
PR_GET_CHILD_SUBREAPER: Final = 37
PR_SET_NO_NEW_PRIVS: Final = 38
PR_GET_NO_NEW_PRIVS: Final = 39
PR_GET_TID_ADDRESS: Final = 40
PR_SET_THP_DISABLE: Final = 41
PR_GET_THP_DISABLE: Final = 42
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_IS_SET: Final = 1
PR_CAP_AMBIENT_RAISE: Final = 2
PR_CAP_AMBIENT_LOWER: Final = 3
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
PR_GET_SPECULATION_CTRL: Final = 52
PR_SET_SPECULATION_CTRL: Final = 53
PR_SPEC_L1D_FLUSH: Final = 2
PR_SPEC_NOT_AFFECTED: Final = 0
PR_SET_TAGGED_ADDR_CTRL: Final = 55
PR_GET_TAGGED_ADDR_CTRL: Final = 56
PR_TAGGED_ADDR_ENABLE: Final = 1
PR_SET_IO_FLUSHER: Final = 57
PR_GET_IO_FLUSHER: Final = 58
PR_SET_SYSCALL_USER_DISPATCH: Final = 59
PR_SYS_DISPATCH_OFF: Final = 0
PR_SYS_DISPATCH_EXCLUSIVE_ON: Final = 1
PR_SYS_DISPATCH_INCLUSIVE_ON: Final = 2
PR_SET_MDWE: Final = 65
PR_GET_MDWE: Final = 66
PR_SET_VMA: Final = 0x53564D41
PR_SET_VMA_ANON_NAME: Final = 0
PR_GET_AUXV: Final = 0x41555856
