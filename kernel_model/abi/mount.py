"""include/uapi/linux/mount.h: mount flags, and what statfs(2) says of them (include/linux/statfs.h: ST_*)."""

from __future__ import annotations

from typing import Final

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_NOATIME: Final = 1024
MS_NODIRATIME: Final = 2048
MS_RELATIME: Final = 1 << 21

ST_VALID: Final = 0x20
ST_RELATIME: Final = 0x1000
