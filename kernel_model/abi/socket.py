"""include/linux/socket.h, net.h, asm-generic/socket.h; the same on both architectures."""

from __future__ import annotations

import struct
from typing import Final

AF_UNSPEC: Final = 0
AF_UNIX: Final = 1
NPROTO: Final = 46

SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_RDM, SOCK_SEQPACKET = range(1, 6)
SOCK_MAX: Final = 11
SOCK_TYPE_MASK: Final = 0xF

SOL_SOCKET: Final = 1
SO_TYPE, SO_ERROR = 3, 4
SO_DONTROUTE, SO_BROADCAST, SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE, SO_OOBINLINE = range(5, 11)
SO_REUSEADDR, SO_LINGER, SO_REUSEPORT = 2, 13, 15
SO_PRIORITY: Final = 12
SO_PASSCRED, SO_PEERCRED, SO_RCVLOWAT, SO_SNDLOWAT = range(16, 20)
SO_RCVTIMEO, SO_SNDTIMEO = 20, 21
SO_ACCEPTCONN: Final = 30
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
SO_PROTOCOL, SO_DOMAIN = 38, 39
SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW = 66, 67

MSG_OOB, MSG_PEEK, MSG_CTRUNC, MSG_TRUNC = 1, 2, 8, 0x20
MSG_DONTWAIT, MSG_WAITALL, MSG_NOSIGNAL, MSG_WAITFORONE = 0x40, 0x100, 0x4000, 0x1_0000
MSG_CMSG_CLOEXEC, MSG_CMSG_COMPAT = 0x4000_0000, 0x8000_0000

SCM_RIGHTS, SCM_CREDENTIALS = 1, 2
SCM_MAX_FD: Final = 253
SHUT_RD, SHUT_WR, SHUT_RDWR = range(3)
RCV_SHUTDOWN, SEND_SHUTDOWN = 1, 2

MSGHDR: Final = struct.Struct("<QI4xQQQQI4x")
"""`struct user_msghdr`: name, namelen, iov, iovlen, control, controllen, flags."""
MMSGHDR_BYTES: Final = MSGHDR.size + 8
CMSGHDR: Final = struct.Struct("<Qii")
UCRED: Final = struct.Struct("<iII")
"""`struct ucred`: pid, uid, gid."""
SA_FAMILY: Final = struct.Struct("<H")
SOCKADDR_STORAGE_BYTES: Final = 128
UNIX_PATH_OFFSET: Final = 2
SOCKADDR_UN_BYTES: Final = 110
