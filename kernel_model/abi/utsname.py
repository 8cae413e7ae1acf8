"""What uname(2) and /proc/version say of this kernel."""

from __future__ import annotations

from typing import Final

SYSNAME: Final = b"Linux"
RELEASE: Final = b"6.18.0-uabi-emu"
VERSION: Final = b"#1 SMP PREEMPT_DYNAMIC Wed Jan  1 00:00:00 UTC 2025"
PATCHLEVEL: Final = 18
NEW_UTS_LEN: Final = 64
