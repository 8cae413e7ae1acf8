"""include/uapi/linux/resource.h: limits, and the defaults of a fresh process."""

from __future__ import annotations

import struct
from typing import Final

RLIM_INFINITY: Final = (1 << 64) - 1
RLIM_NLIMITS: Final = 16
RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_CORE, RLIMIT_RSS, RLIMIT_NPROC, RLIMIT_NOFILE = range(8)
RLIMIT_MEMLOCK, RLIMIT_AS, RLIMIT_LOCKS, RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE, RLIMIT_NICE = range(8, 14)
RLIMIT_RTPRIO: Final = 14
RLIMIT_RTTIME: Final = 15

NR_OPEN: Final = 1_048_576
"""/proc/sys/fs/nr_open: what a hard RLIMIT_NOFILE may be at most."""
MAX_USER_PROCESSES: Final = 30_720
"""Half of what a machine of 4 GiB allows in threads (kernel/fork.c:fork_init())."""

RUSAGE_SELF: Final = 0
RUSAGE_CHILDREN: Final = -1
RUSAGE_THREAD: Final = 1

PRIO_PROCESS: Final = 0
PRIO_PGRP: Final = 1
PRIO_USER: Final = 2
MIN_NICE: Final = -20
MAX_NICE: Final = 19

RLIMIT: Final = struct.Struct("<QQ")
RUSAGE: Final = struct.Struct("<18q")
TMS: Final = struct.Struct("<4q")
# struct sysinfo: uptime, loads[3], totalram .. freeswap, procs, totalhigh, freehigh, mem_unit
SYSINFO: Final = struct.Struct("<q3Q6QHH4xQQI4x")

_DEFAULTS: Final = {
    **dict.fromkeys(range(RLIM_NLIMITS), (RLIM_INFINITY, RLIM_INFINITY)),
    RLIMIT_STACK: (8 << 20, RLIM_INFINITY),
    RLIMIT_CORE: (0, RLIM_INFINITY),
    RLIMIT_NPROC: (MAX_USER_PROCESSES, MAX_USER_PROCESSES),
    RLIMIT_NOFILE: (1024, NR_OPEN),
    RLIMIT_MEMLOCK: (8 << 20, 8 << 20),
    RLIMIT_SIGPENDING: (MAX_USER_PROCESSES, MAX_USER_PROCESSES),
    RLIMIT_MSGQUEUE: (819_200, 819_200),
    RLIMIT_NICE: (0, 0),
    RLIMIT_RTPRIO: (0, 0),
}


def default_limits() -> dict[int, tuple[int, int]]:
    """RLIMIT_* to (soft, hard) of a fresh process (include/asm-generic/resource.h, and what distributions add)."""
    return dict(_DEFAULTS)
