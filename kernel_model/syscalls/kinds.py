"""Argument kinds that more than one call uses: how the register is taken, and how a tracer shows it.

The first string of `Param` is the C type, the second the tracer's format, the third what that format needs:
for `flags` and `enum` the name of a table of constants, for `struct` (read from the guest) and `outstruct`
(written to it when the call succeeds) the name of a layout, for buffers and vectors the name of the argument
that holds their length.
"""

from __future__ import annotations

from typing import Annotated

from kernel_model.syscalls.declare import Param
from kernel_model.types import UserPtr

# -- opening, descriptors ----------------------------------------------------------------------------------
OpenFlags = Annotated[int, Param("int", "flags", "open")]
OpenHow = Annotated[UserPtr, Param("ptr", "struct", "open_how")]
CloseRangeFlags = Annotated[int, Param("uint", "flags", "close_range")]
UFd = Annotated[int, Param("uint", "fd")]
FcntlCmd = Annotated[int, Param("uint", "enum", "fcntl_cmd")]
FcntlArg = Annotated[int, Param("ulong", "hex", "cmd")]
FlockCmd = Annotated[int, Param("uint", "flags", "flock")]
IoctlCmd = Annotated[int, Param("uint", "enum", "ioctl")]

# -- reading, writing --------------------------------------------------------------------------------------
Iovec = Annotated[UserPtr, Param("ptr", "iovec", "vlen")]
OutIovec = Annotated[UserPtr, Param("ptr", "outiovec", "vlen")]
RwFlags = Annotated[int, Param("int", "flags", "rwf")]
Whence = Annotated[int, Param("uint", "enum", "seek")]
OffsetPtr = Annotated[UserPtr, Param("ptr", "struct", "off_t")]
SpliceFlags = Annotated[int, Param("uint", "flags", "splice")]
SyncRangeFlags = Annotated[int, Param("uint", "flags", "sync_file_range")]
FadviseAdvice = Annotated[int, Param("int", "enum", "fadvise")]
FallocateMode = Annotated[int, Param("int", "flags", "fallocate")]

# -- names -------------------------------------------------------------------------------------------------
AtFlags = Annotated[int, Param("int", "flags", "at")]
UAtFlags = Annotated[int, Param("uint", "flags", "at")]
UnlinkFlags = Annotated[int, Param("int", "flags", "at_unlink")]
AccessFlags = Annotated[int, Param("int", "flags", "at_access")]
AccessMode = Annotated[int, Param("int", "flags", "access")]
RenameFlags = Annotated[int, Param("uint", "flags", "rename")]
DevT = Annotated[int, Param("uint", "enum", "dev_t")]

# -- what files are ----------------------------------------------------------------------------------------
StatPtr = Annotated[UserPtr, Param("ptr", "outstruct", "stat")]
StatxPtr = Annotated[UserPtr, Param("ptr", "outstruct", "statx")]
StatxMask = Annotated[int, Param("uint", "flags", "statx")]
StatfsPtr = Annotated[UserPtr, Param("ptr", "outstruct", "statfs")]
UstatPtr = Annotated[UserPtr, Param("ptr", "outstruct", "ustat")]
DirentPtr = Annotated[UserPtr, Param("ptr", "outstruct", "dirent")]
Dirent64Ptr = Annotated[UserPtr, Param("ptr", "outstruct", "dirent64")]
PathBuffer = Annotated[UserPtr, Param("ptr", "outbuf", "return")]
"""A buffer of which the call's result says how much was written."""
XattrFlags = Annotated[int, Param("int", "flags", "xattr")]
XattrBuffer = Annotated[UserPtr, Param("ptr", "outbuf", "return")]
XattrValue = Annotated[UserPtr, Param("ptr", "inbuf", "size")]

# -- time, as file calls take it ---------------------------------------------------------------------------
TimespecPair = Annotated[UserPtr, Param("ptr", "struct", "timespec[2]")]
TimevalPair = Annotated[UserPtr, Param("ptr", "struct", "timeval[2]")]
Utimbuf = Annotated[UserPtr, Param("ptr", "struct", "utimbuf")]
