"""What a pointer leads to: a text for each structure that a declared kind may name (`detail` of struct, outstruct).

Layouts are those of both architectures unless `kernel_model.arch` says otherwise. Each function takes the call and the
structure's address, and raises SyscallError where the guest's memory can't be read.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from emu.strace import structs_event, structs_seccomp, structs_socket, structs_task, tables
from emu.strace.text import STRING_LIMIT, date, hexadecimal, octal, pointer, quote
from kernel_model.abi import stat as stat_abi
from kernel_model.abi.time import TIMESPEC, TIMEVAL, TIMEX, TIMEZONE

if TYPE_CHECKING:
    from emu.strace.call import Call

Shower = Callable[["Call", int], str]

TWO_INTS: Final = Struct("<ii")
_INT: Final = Struct("<i")
_UINT: Final = Struct("<I")
_U64: Final = Struct("<Q")
_S64: Final = Struct("<q")
_OPEN_HOW: Final = Struct("<QQQ")
_FLOCK: Final = Struct("<hh4xqqi4x")
_POLLFD: Final = Struct("<iHH")
_TERMIOS: Final = Struct("<IIII")
_XATTR_ARGS: Final = Struct("<QII")
_WINSIZE: Final = Struct("<HHHH")
_UTSNAME: Final = Struct("65s65s")
_UTIME_NOW: Final = (1 << 30) - 1
_UTIME_OMIT: Final = (1 << 30) - 2
_POLL_SHOWN: Final = 32
_FD_SETSIZE: Final = 1024
_STATX_MODE, _STATX_SIZE = 6, 8
_STAT_FIELDS: Final = (Struct("<I"), Struct("<Q"), Struct("<q"))


def fields(**values: object) -> str:
    """`{a=1, b=2}`."""
    return "{" + ", ".join(f"{name}={value}" for name, value in values.items()) + "}"


# -- files -----------------------------------------------------------------------------------------------------
def file_mode(mode: int) -> str:
    """`S_IFREG|S_ISUID|0755`."""
    kind = tables.all_tables()["file_type"].by_value.get(mode & 0o170000)
    words = [kind] if kind else []
    words += [name for bit, name in ((0o4000, "S_ISUID"), (0o2000, "S_ISGID"), (0o1000, "S_ISVTX")) if mode & bit]
    rest = mode & (0o777 if kind else ~0o7000)
    return "|".join([*words, octal(rest)])


def device(dev: int) -> str:
    """`makedev(0x8, 0x1)`."""
    major, minor = stat_abi.dev_major(dev), stat_abi.dev_minor(dev)
    return f"makedev({hexadecimal(major)}, {hexadecimal(minor)})"


def _stat(call: Call, address: int) -> str:
    mode, rdev, size = (
        call.unpack(layout, address + offset)[0]
        for layout, offset in zip(_STAT_FIELDS, call.arch.STAT_OFFSETS, strict=True)
    )
    if mode & stat_abi.S_IFMT in (stat_abi.S_IFCHR, stat_abi.S_IFBLK):
        return f"{{st_mode={file_mode(mode)}, st_rdev={device(rdev)}, ...}}"
    return f"{{st_mode={file_mode(mode)}, st_size={size}, ...}}"


def _statx(call: Call, address: int) -> str:
    values = call.unpack(stat_abi.STATX, address)
    mask, _, attributes = values[:3]
    return (
        f"{{stx_mask={tables.flags('statx', mask)}, stx_attributes={tables.flags('statx_attributes', attributes)}, "
        f"stx_mode={file_mode(values[_STATX_MODE])}, stx_size={values[_STATX_SIZE]}, ...}}"
    )


def _statfs(call: Call, address: int) -> str:
    f_type, bsize, blocks, bfree, bavail, files, ffree, low, high, namelen, frsize, flags = call.unpack(
        stat_abi.STATFS, address
    )
    return fields(
        f_type=tables.enum("fs_magic", f_type), f_bsize=bsize, f_blocks=blocks, f_bfree=bfree, f_bavail=bavail,
        f_files=files, f_ffree=ffree,
        f_fsid=f"{{val=[{hexadecimal(low & 0xFFFFFFFF)}, {hexadecimal(high & 0xFFFFFFFF)}]}}",
        f_namelen=namelen, f_frsize=frsize, f_flags=tables.flags("statfs_flags", flags),
    )  # fmt: skip


def _ustat(call: Call, address: int) -> str:
    free, inodes, _, _ = call.unpack(stat_abi.USTAT, address)
    return fields(f_tfree=free, f_tinode=inodes)


def _dirents(call: Call, address: int) -> str:
    """The address and how many there are (the result says how many bytes); both layouts have reclen at 16."""
    data = call.read(address, call.result or 0)
    count = position = 0
    while position + 18 <= len(data):
        length = int.from_bytes(data[position + 16 : position + 18], "little")
        if not length:
            break
        count += 1
        position += length
    return f"{pointer(address)} /* {count} entr{'y' if count == 1 else 'ies'} */"


def _open_how(call: Call, address: int) -> str:
    if call.values[-1] < _OPEN_HOW.size:
        return pointer(address)
    flags, mode, resolve = call.unpack(_OPEN_HOW, address)
    flags = call.arch.open_flags_from_user(flags)
    words = {"flags": tables.flags("open", flags)}
    if flags & 0o20000100 or mode:
        words["mode"] = octal(mode)
    words["resolve"] = tables.flags("resolve", resolve)
    return fields(**words)


def _flock(call: Call, address: int) -> str:
    kind, whence, start, length, _ = call.unpack(_FLOCK, address)
    return fields(
        l_type=tables.enum("lock_type", kind), l_whence=tables.enum("seek", whence), l_start=start, l_len=length
    )


def _flock_found(call: Call, address: int) -> str:
    return f"{_flock(call, address)[:-1]}, l_pid={call.unpack(_FLOCK, address)[4]}}}"


def _owner(call: Call, address: int) -> str:
    kind, pid = call.unpack(TWO_INTS, address)
    return fields(type=tables.enum("owner_type", kind), pid=pid)


def _rw_hint(call: Call, address: int) -> str:
    return f"[{tables.enum('rw_hint', call.unpack(_U64, address)[0])}]"


def _xattr_args(call: Call, address: int) -> str:
    value, size, flags = call.unpack(_XATTR_ARGS, address)
    return fields(value=pointer(value), size=size, flags=tables.flags("xattr", flags))


def _termios(call: Call, address: int) -> str:
    words = [
        f"{name}={tables.flags(name, value)}"
        for name, value in zip(
            ("c_iflag", "c_oflag", "c_cflag", "c_lflag"), call.unpack(_TERMIOS, address), strict=True
        )
    ]
    return f"{{{', '.join(words)}, ...}}"


def _winsize(call: Call, address: int) -> str:
    rows, columns, x, y = call.unpack(_WINSIZE, address)
    return fields(ws_row=rows, ws_col=columns, ws_xpixel=x, ws_ypixel=y)


# -- waiting for files -----------------------------------------------------------------------------------------
def poll_entries(call: Call, address: int, *, returned: bool) -> str:
    """The array of poll(2): what is asked for, or what came back."""
    items = []
    count = call.values[1] & 0xFFFF_FFFF
    for position in range(min(count, _POLL_SHOWN)):
        fd, events, revents = call.unpack(_POLLFD, address + 8 * position)
        if not returned:
            asked = f", events={tables.flags('poll', events)}" if fd >= 0 else ""
            items.append(f"{{fd={fd}{asked}}}")
        elif revents:
            items.append(f"{{fd={fd}, revents={tables.flags('poll', revents)}}}")
    if count > _POLL_SHOWN:
        items.append("...")
    return f"[{', '.join(items)}]"


def _pollfds(call: Call, address: int) -> str:
    return poll_entries(call, address, returned=False)


def fd_set(call: Call, address: int) -> str:
    """The descriptors in a set, as select(2)'s first argument bounds it."""
    count = max(0, min(call.values[0], _FD_SETSIZE))
    bits = int.from_bytes(call.read(address, (count + 63) // 64 * 8), "little")
    return f"[{' '.join(str(fd) for fd in range(count) if bits >> fd & 1)}]"


def _pselect_mask(call: Call, address: int) -> str:
    pointed, size = call.unpack(Struct("<QQ"), address)
    mask = STRUCTS["sigset"](call, pointed) if pointed else "NULL"
    return fields(sigmask=mask, sigsetsize=size)


# -- time ------------------------------------------------------------------------------------------------------
def timespec(call: Call, address: int) -> str:
    """`{tv_sec=1, tv_nsec=0}`."""
    seconds, nanoseconds = call.unpack(TIMESPEC, address)
    return fields(tv_sec=seconds, tv_nsec=nanoseconds)


def timeval(call: Call, address: int) -> str:
    """`{tv_sec=1, tv_usec=0}`."""
    seconds, microseconds = call.unpack(TIMEVAL, address)
    return fields(tv_sec=seconds, tv_usec=microseconds)


def _timespec_pair(call: Call, address: int) -> str:
    words = []
    for position in range(2):
        seconds, nanoseconds = call.unpack(TIMESPEC, address + 16 * position)
        if nanoseconds == _UTIME_NOW:
            words.append("UTIME_NOW")
        elif nanoseconds == _UTIME_OMIT:
            words.append("UTIME_OMIT")
        else:
            when = date(seconds, f".{nanoseconds:09}" if nanoseconds else "")
            words.append(fields(tv_sec=seconds, tv_nsec=nanoseconds) + when)
    return f"[{', '.join(words)}]"


def _timeval_pair(call: Call, address: int) -> str:
    words = []
    for position in range(2):
        seconds, microseconds = call.unpack(TIMEVAL, address + 16 * position)
        when = date(seconds, f".{microseconds:06}" if microseconds else "")
        words.append(fields(tv_sec=seconds, tv_usec=microseconds) + when)
    return f"[{', '.join(words)}]"


def _utimbuf(call: Call, address: int) -> str:
    actime, modtime = call.unpack(Struct("<qq"), address)
    return fields(actime=f"{actime}{date(actime)}", modtime=f"{modtime}{date(modtime)}")


def _time_t(call: Call, address: int) -> str:
    (seconds,) = call.unpack(_S64, address)
    return f"[{seconds}{date(seconds)}]"


def _timezone(call: Call, address: int) -> str:
    west, dst = call.unpack(TIMEZONE, address)
    return fields(tz_minuteswest=west, tz_dsttime=dst)


def _itimerval(call: Call, address: int) -> str:
    return fields(it_interval=timeval(call, address), it_value=timeval(call, address + 16))


def _timex(call: Call, address: int) -> str:
    (
        modes, offset, freq, maxerror, esterror, status, constant, precision, tolerance, seconds, fraction, tick,
        ppsfreq, jitter, shift, stabil, jitcnt, calcnt, errcnt, stbcnt, tai,
    ) = call.unpack(TIMEX, address)  # fmt: skip
    return fields(
        modes=tables.flags("adjtimex_modes", modes), offset=offset, freq=freq, maxerror=maxerror,
        esterror=esterror, status=tables.flags("adjtimex_status", status), constant=constant,
        precision=precision, tolerance=tolerance, time=fields(tv_sec=seconds, tv_usec=fraction), tick=tick,
        ppsfreq=ppsfreq, jitter=jitter, shift=shift, stabil=stabil, jitcnt=jitcnt, calcnt=calcnt,
        errcnt=errcnt, stbcnt=stbcnt, tai=tai,
    )  # fmt: skip


# -- the rest --------------------------------------------------------------------------------------------------
def _utsname(call: Call, address: int) -> str:
    system, node = (quote(text.partition(b"\0")[0]) for text in call.unpack(_UTSNAME, address))
    return f"{{sysname={system}, nodename={node}, ...}}"


def _mincore(call: Call, address: int) -> str:
    """One byte for each page of the range; the lowest bit counts."""
    pages = (call.argument("length") + 4095) // 4096
    data = call.read(address, min(pages, STRING_LIMIT))
    words = [str(byte & 1) for byte in data]
    return f"[{', '.join([*words, '...'] if pages > STRING_LIMIT else words)}]"


def _cpumask(call: Call, address: int) -> str:
    """One bit for each CPU; its length is the result, or the second argument on the way in."""
    count = call.values[1] if call.result is None or not call.result else call.result
    bits = int.from_bytes(call.read(address, min(count, 128)), "little")
    return f"[{' '.join(str(cpu) for cpu in range(bits.bit_length()) if bits >> cpu & 1)}]"


def _pointed(layout: Struct, show: Callable[[Any], str] = str) -> Shower:
    """A lone number: `[3]`."""
    return lambda call, address: f"[{show(call.unpack(layout, address)[0])}]"


STRUCTS: Final[dict[str, Shower]] = {
    **structs_task.STRUCTS,
    **structs_event.STRUCTS,
    **structs_seccomp.STRUCTS,
    **structs_socket.STRUCTS,
    "cpumask": _cpumask,
    "dirent": _dirents,
    "dirent64": _dirents,
    "f_owner_ex": _owner,
    "fd_set": fd_set,
    "flock": _flock,
    "flock_found": _flock_found,
    "int": _pointed(_INT),
    "itimerval": _itimerval,
    "mincore": _mincore,
    "off_t": _pointed(_S64),
    "open_how": _open_how,
    "pollfd[]": _pollfds,
    "pointer": _pointed(_U64, pointer),
    "pr_tsc": _pointed(_INT, lambda value: tables.enum("pr_tsc", value)),
    "pselect6_sigmask": _pselect_mask,
    "rw_hint": _rw_hint,
    "signal": _pointed(_INT, structs_task.signal_name),
    "stat": _stat,
    "statfs": _statfs,
    "statx": _statx,
    "termios": _termios,
    "time_t": _time_t,
    "timespec": timespec,
    "timespec[2]": _timespec_pair,
    "timeval": timeval,
    "timeval[2]": _timeval_pair,
    "timex": _timex,
    "timezone": _timezone,
    "unsigned": _pointed(_UINT),
    "ustat": _ustat,
    "utimbuf": _utimbuf,
    "utsname": _utsname,
    "winsize": _winsize,
    "xattr_args": _xattr_args,
}
