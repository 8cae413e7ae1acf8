"""include/uapi/asm-generic/ioctls.h, linux/fs.h: requests that every file, or every regular file, knows."""

from __future__ import annotations

from typing import Final

FIBMAP: Final = 1
FIGETBSZ: Final = 2
FIONREAD: Final = 0x541B
FIONBIO: Final = 0x5421
FIONCLEX: Final = 0x5450
FIOCLEX: Final = 0x5451
FIOASYNC: Final = 0x5452
FIOQSIZE: Final = 0x5460
FICLONE: Final = 0x4004_9409
FICLONERANGE: Final = 0x4020_940D
FIDEDUPERANGE: Final = 0xC018_9436
FS_IOC_FIEMAP: Final = 0xC020_660B
