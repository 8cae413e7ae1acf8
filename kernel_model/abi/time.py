"""include/uapi/linux/time.h, timex.h: clock ids, timer flags, and the layouts that time crosses the border in."""

from __future__ import annotations

import struct
from typing import Final

CLOCK_REALTIME: Final = 0
CLOCK_MONOTONIC: Final = 1
CLOCK_PROCESS_CPUTIME_ID: Final = 2
CLOCK_THREAD_CPUTIME_ID: Final = 3
CLOCK_MONOTONIC_RAW: Final = 4
CLOCK_REALTIME_COARSE: Final = 5
CLOCK_MONOTONIC_COARSE: Final = 6
CLOCK_BOOTTIME: Final = 7
CLOCK_REALTIME_ALARM: Final = 8
CLOCK_BOOTTIME_ALARM: Final = 9
CLOCK_TAI: Final = 11

# A negative clock id: ~pid << 3 | per-thread << 2 | which (include/linux/posix-timers_types.h).
CPUCLOCK_PERTHREAD_MASK: Final = 4
CPUCLOCK_WHICH_MASK: Final = 3
CPUCLOCK_PROF: Final = 0
CPUCLOCK_VIRT: Final = 1
CPUCLOCK_SCHED: Final = 2
CLOCKFD: Final = 3
CLOCKFD_MASK: Final = 7

TIMER_ABSTIME: Final = 1

NSEC_PER_SEC: Final = 1_000_000_000
NSEC_PER_USEC: Final = 1_000
USEC_PER_SEC: Final = 1_000_000
USER_HZ: Final = 100
NS_PER_TICK: Final = NSEC_PER_SEC // USER_HZ
"""Of clock_t, which user space is told ticks in; the kernel's own are `TICK_NSEC` long."""
HZ: Final = 250
TICK_NSEC: Final = NSEC_PER_SEC // HZ
KTIME_MAX_NS: Final = (1 << 63) - 1
"""No clock goes further: three hundred years after the boot (include/linux/ktime.h)."""
KTIME_SEC_MAX: Final = KTIME_MAX_NS // NSEC_PER_SEC
TIME_SETTOD_SEC_MAX: Final = KTIME_SEC_MAX - 30 * 365 * 24 * 3600

TIMESPEC: Final = struct.Struct("<qq")
TIMEVAL: Final = TIMESPEC
ITIMERSPEC: Final = struct.Struct("<4q")
"""it_interval, it_value."""
TIMEZONE: Final = struct.Struct("<ii")
TIME_T: Final = struct.Struct("<q")
# struct __kernel_timex: modes, offset .. tolerance, time, tick .. stbcnt, tai, eleven words of padding
TIMEX: Final = struct.Struct("<I4xqqqqi4xqqqqqqqqi4xqqqqqi44x")
