"""include/uapi/asm-generic/ioctls.h, termbits.h, termios.h: requests to terminals, and the layouts they carry."""

from __future__ import annotations

import struct
from typing import Final

TCGETS: Final = 0x5401
TCSETS: Final = 0x5402
TCSETSW: Final = 0x5403
TCSETSF: Final = 0x5404
TCGETA: Final = 0x5405
TCSETA: Final = 0x5406
TCSETAW: Final = 0x5407
TCSETAF: Final = 0x5408
TCSBRK: Final = 0x5409
TCXONC: Final = 0x540A
TCFLSH: Final = 0x540B
TIOCEXCL: Final = 0x540C
TIOCNXCL: Final = 0x540D
TIOCSCTTY: Final = 0x540E
TIOCGPGRP: Final = 0x540F
TIOCSPGRP: Final = 0x5410
TIOCOUTQ: Final = 0x5411
TIOCSTI: Final = 0x5412
TIOCGWINSZ: Final = 0x5413
TIOCSWINSZ: Final = 0x5414
FIONREAD: Final = 0x541B
TIOCNOTTY: Final = 0x5422
TIOCGETD: Final = 0x5424
TCSBRKP: Final = 0x5425
TIOCSBRK: Final = 0x5427
TIOCCBRK: Final = 0x5428
TIOCGSID: Final = 0x5429
TCGETS2: Final = 0x802C542A
TCSETS2: Final = 0x402C542B
TCSETSW2: Final = 0x402C542C
TCSETSF2: Final = 0x402C542D
TIOCGDEV: Final = 0x80045432
TIOCGEXCL: Final = 0x80045440

ICANON: Final = 0o2
VTIME: Final = 5
VMIN: Final = 6
N_TTY: Final = 0

TERMIOS: Final = struct.Struct("<IIIIB19s")
"""`struct termios` of the kernel: iflag, oflag, cflag, lflag, line, cc; 36 bytes."""
TERMIOS2: Final = struct.Struct("<IIIIB19sII")
"""`struct termios2`: the same, ispeed, ospeed; 44 bytes."""
TERMIO: Final = struct.Struct("<HHHHB8sx")
"""`struct termio` of old: the low halves of the flags, line, the first eight of cc; 18 bytes."""
WINSIZE: Final = struct.Struct("<4H")
INT: Final = struct.Struct("<i")
UINT: Final = struct.Struct("<I")
