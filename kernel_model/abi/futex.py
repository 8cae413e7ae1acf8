"""Numbers of futex_waitv(2) (include/uapi/linux/futex.h)."""

from __future__ import annotations

from struct import Struct
from typing import Final

FUTEX_WAITV_MAX: Final = 128
FUTEX2_SIZE_U32: Final = 0x02
FUTEX2_PRIVATE: Final = 128
FUTEX_WAITV: Final = Struct("<QQII")
"""`struct futex_waitv`: val, uaddr, flags, reserved."""
