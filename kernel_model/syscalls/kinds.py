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
UnlinkFlags = Annotated[int, Param("int", "flags", "at")]
AccessFlags = Annotated[int, Param("int", "flags", "at_access")]
AccessMode = Annotated[int, Param("int", "flags", "access")]
RenameFlags = Annotated[int, Param("uint", "flags", "rename")]
DevT = Annotated[int, Param("uint", "device")]

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
XattrArgs = Annotated[UserPtr, Param("ptr", "struct", "xattr_args")]
XattrValue = Annotated[UserPtr, Param("ptr", "inbuf", "size")]

# -- time, as file calls take it ---------------------------------------------------------------------------
TimespecPair = Annotated[UserPtr, Param("ptr", "struct", "timespec[2]")]
TimevalPair = Annotated[UserPtr, Param("ptr", "struct", "timeval[2]")]
Utimbuf = Annotated[UserPtr, Param("ptr", "struct", "utimbuf")]

# -- pipes, readiness --------------------------------------------------------------------------------------
FdPair = Annotated[UserPtr, Param("ptr", "fdpair")]
PipeFlags = Annotated[int, Param("int", "flags", "open")]
PollFds = Annotated[UserPtr, Param("ptr", "struct", "pollfd[]")]
FdSet = Annotated[UserPtr, Param("ptr", "struct", "fd_set")]
PselectMask = Annotated[UserPtr, Param("ptr", "struct", "pselect6_sigmask")]

# -- processes ---------------------------------------------------------------------------------------------
Argv = Annotated[UserPtr, Param("ptr", "argv")]
ExecveatFlags = Annotated[int, Param("int", "flags", "at")]
RseqFlags = Annotated[int, Param("int", "flags", "rseq")]

# -- time --------------------------------------------------------------------------------------------------
Timespec = Annotated[UserPtr, Param("ptr", "struct", "timespec")]
OutTimespec = Annotated[UserPtr, Param("ptr", "outstruct", "timespec")]
Timeval = Annotated[UserPtr, Param("ptr", "struct", "timeval")]
OutTimeval = Annotated[UserPtr, Param("ptr", "outstruct", "timeval")]
Timezone = Annotated[UserPtr, Param("ptr", "struct", "timezone")]
OutTimezone = Annotated[UserPtr, Param("ptr", "outstruct", "timezone")]
OutTimeT = Annotated[UserPtr, Param("ptr", "outstruct", "time_t")]
Timex = Annotated[UserPtr, Param("ptr", "outstruct", "timex")]
SleepFlags = Annotated[int, Param("int", "flags", "timer")]

# -- the machine -------------------------------------------------------------------------------------------
UtsnamePtr = Annotated[UserPtr, Param("ptr", "outstruct", "utsname")]
SizedString = Annotated[UserPtr, Param("ptr", "inbuf", "length")]
GetrandomFlags = Annotated[int, Param("uint", "flags", "getrandom")]
SyslogType = Annotated[int, Param("int", "enum", "syslog")]
SysinfoPtr = Annotated[UserPtr, Param("ptr", "outstruct", "sysinfo")]
CpuPtr = Annotated[UserPtr, Param("ptr", "outstruct", "unsigned")]

# -- limits, priorities ------------------------------------------------------------------------------------
RlimitResource = Annotated[int, Param("uint", "enum", "rlimit")]
Rlimit = Annotated[UserPtr, Param("ptr", "struct", "rlimit")]
OutRlimit = Annotated[UserPtr, Param("ptr", "outstruct", "rlimit")]
RusageWho = Annotated[int, Param("int", "enum", "rusage_who")]
RusagePtr = Annotated[UserPtr, Param("ptr", "outstruct", "rusage")]
TmsPtr = Annotated[UserPtr, Param("ptr", "outstruct", "tms")]
PriorityWhich = Annotated[int, Param("int", "enum", "priority")]
IoprioWhich = Annotated[int, Param("int", "enum", "ioprio_who")]
SchedPolicy = Annotated[int, Param("int", "enum", "sched_policy")]
SchedParam = Annotated[UserPtr, Param("ptr", "struct", "sched_param")]
OutSchedParam = Annotated[UserPtr, Param("ptr", "outstruct", "sched_param")]
SchedAttr = Annotated[UserPtr, Param("ptr", "struct", "sched_attr")]
OutSchedAttr = Annotated[UserPtr, Param("ptr", "outstruct", "sched_attr")]
CpuMask = Annotated[UserPtr, Param("ptr", "struct", "cpumask")]
OutCpuMask = Annotated[UserPtr, Param("ptr", "outstruct", "cpumask")]

# -- credentials -------------------------------------------------------------------------------------------
OutUid = Annotated[UserPtr, Param("ptr", "outstruct", "uid")]
GroupList = Annotated[UserPtr, Param("ptr", "struct", "gid_list")]
OutGroupList = Annotated[UserPtr, Param("ptr", "outstruct", "gid_list")]
CapHeader = Annotated[UserPtr, Param("ptr", "struct", "cap_header")]
CapData = Annotated[UserPtr, Param("ptr", "struct", "cap_data")]
OutCapData = Annotated[UserPtr, Param("ptr", "outstruct", "cap_data")]
PrctlOption = Annotated[int, Param("int", "enum", "prctl")]
ArchPrctlCode = Annotated[int, Param("int", "enum", "arch_prctl")]
SeccompOperation = Annotated[int, Param("uint", "enum", "seccomp")]
SeccompFlags = Annotated[int, Param("uint", "flags", "seccomp_filter")]
SeccompArgs = Annotated[UserPtr, Param("ptr", "ptr")]
Personality = Annotated[int, Param("uint", "flags", "personality")]

# -- signals -----------------------------------------------------------------------------------------------
SigAction = Annotated[UserPtr, Param("ptr", "struct", "sigaction")]
OutSigAction = Annotated[UserPtr, Param("ptr", "outstruct", "sigaction")]
SigSet = Annotated[UserPtr, Param("ptr", "sigset", "sigsetsize")]
OutSigSet = Annotated[UserPtr, Param("ptr", "outstruct", "sigset")]
SigProcMaskHow = Annotated[int, Param("int", "enum", "sigprocmask")]
StackT = Annotated[UserPtr, Param("ptr", "struct", "stack_t")]
OutStackT = Annotated[UserPtr, Param("ptr", "outstruct", "stack_t")]
SigInfo = Annotated[UserPtr, Param("ptr", "struct", "siginfo")]
OutSigInfo = Annotated[UserPtr, Param("ptr", "outstruct", "siginfo")]
ItimerWhich = Annotated[int, Param("int", "enum", "itimer")]
Itimerval = Annotated[UserPtr, Param("ptr", "struct", "itimerval")]
OutItimerval = Annotated[UserPtr, Param("ptr", "outstruct", "itimerval")]

# -- events ------------------------------------------------------------------------------------------------
EventfdFlags = Annotated[int, Param("int", "flags", "eventfd")]
TimerfdFlags = Annotated[int, Param("int", "flags", "timerfd")]
TimerfdSetFlags = Annotated[int, Param("int", "flags", "timerfd_settime")]
Itimerspec = Annotated[UserPtr, Param("ptr", "struct", "itimerspec")]
OutItimerspec = Annotated[UserPtr, Param("ptr", "outstruct", "itimerspec")]
SignalfdFlags = Annotated[int, Param("int", "flags", "signalfd")]
PidfdFlags = Annotated[int, Param("uint", "flags", "pidfd_open")]
PidfdSignalFlags = Annotated[int, Param("uint", "flags", "pidfd_signal")]
SigEvent = Annotated[UserPtr, Param("ptr", "struct", "sigevent")]
OutTimerId = Annotated[UserPtr, Param("ptr", "outstruct", "int")]
EpollFlags = Annotated[int, Param("int", "flags", "epoll_create1")]
EpollCtlOp = Annotated[int, Param("int", "enum", "epoll_ctl")]
EpollEvent = Annotated[UserPtr, Param("ptr", "struct", "epoll_event")]
EpollEvents = Annotated[UserPtr, Param("ptr", "outstruct", "epoll_event[]")]

# -- sockets -----------------------------------------------------------------------------------------------
SocketFamily = Annotated[int, Param("int", "enum", "address_family")]
SocketType = Annotated[int, Param("int", "flags", "socket_type")]
ShutdownHow = Annotated[int, Param("int", "enum", "shutdown_how")]
SocketLevel = Annotated[int, Param("int", "enum", "socket_level")]
SocketOption = Annotated[int, Param("int", "enum", "socket_option")]
SockOpt = Annotated[UserPtr, Param("ptr", "struct", "sockopt")]
OutSockOpt = Annotated[UserPtr, Param("ptr", "outstruct", "sockopt")]
SockAddr = Annotated[UserPtr, Param("ptr", "struct", "sockaddr")]
OutSockAddr = Annotated[UserPtr, Param("ptr", "outstruct", "sockaddr")]
InOutLength = Annotated[UserPtr, Param("ptr", "inout", "socklen")]
InOutTimespec = Annotated[UserPtr, Param("ptr", "inout", "timespec")]
MsgFlags = Annotated[int, Param("uint", "flags", "msg")]
MsgHdr = Annotated[UserPtr, Param("ptr", "struct", "msghdr")]
OutMsgHdr = Annotated[UserPtr, Param("ptr", "outstruct", "msghdr")]
MmsgVec = Annotated[UserPtr, Param("ptr", "outstruct", "mmsghdr")]
OutMmsgVec = Annotated[UserPtr, Param("ptr", "outstruct", "mmsghdr")]
SocketBuffer = Annotated[UserPtr, Param("ptr", "inbuf", "len")]

# -- memory ------------------------------------------------------------------------------------------------
MmapProt = Annotated[int, Param("ulong", "flags", "prot")]
MmapFlags = Annotated[int, Param("ulong", "flags", "mmap")]
MremapFlags = Annotated[int, Param("ulong", "flags", "mremap")]
MadviseAdvice = Annotated[int, Param("int", "enum", "madvise")]
MsyncFlags = Annotated[int, Param("int", "flags", "msync")]
MlockFlags = Annotated[int, Param("int", "flags", "mlock")]
MlockallFlags = Annotated[int, Param("int", "flags", "mlockall")]
MemfdFlags = Annotated[int, Param("uint", "flags", "memfd")]
MembarrierCmd = Annotated[int, Param("int", "enum", "membarrier")]
MembarrierFlags = Annotated[int, Param("uint", "flags", "membarrier_flags")]
PkeyAccess = Annotated[int, Param("ulong", "flags", "pkey_access")]

# -- tasks -------------------------------------------------------------------------------------------------
CloneFlags = Annotated[int, Param("ulong", "flags", "clone")]
UnshareFlags = Annotated[int, Param("ulong", "flags", "clone")]
NsFlags = Annotated[int, Param("int", "flags", "setns")]
CloneArgs = Annotated[UserPtr, Param("ptr", "struct", "clone_args")]
FutexOp = Annotated[int, Param("int", "enum", "futex")]
FutexWaitvs = Annotated[UserPtr, Param("ptr", "struct", "futex_waitv")]
WaitStatus = Annotated[UserPtr, Param("ptr", "outstruct", "wait_status")]
WaitOptions = Annotated[int, Param("int", "flags", "wait")]
IdType = Annotated[int, Param("int", "enum", "idtype")]
Rusage = Annotated[UserPtr, Param("ptr", "outstruct", "rusage")]
