"""The structures of epoll, timers and sockets; see `emu.strace.structs`."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from emu.strace import tables
from emu.strace.structs_task import Shower, signal_name
from emu.strace.text import pointer

if TYPE_CHECKING:
    from emu.strace.call import Call

_EVENTS_SHOWN: Final = 32
_ITIMERSPEC: Final = Struct("<4q")
_SIGEVENT: Final = Struct("<Qiii")
_SIGEV_SIGNAL_KINDS: Final = (0, 2, 4)
_SIGEV_THREAD_ID: Final = 4


def _epoll_event(call: Call, address: int) -> str:
    events, data = call.unpack(call.arch.EPOLL_EVENT, address)
    return f"{{events={tables.flags('epoll_events', events)}, data={_epoll_data(data)}}}"


def _epoll_data(data: int) -> str:
    """Both ways to see it."""
    return f"{{u32={data & 0xFFFF_FFFF}, u64={data}}}"


def _epoll_events(call: Call, address: int) -> str:
    """As many as the result says."""
    count = call.result or 0
    size = call.arch.EPOLL_EVENT.size
    items = [_epoll_event(call, address + size * index) for index in range(min(count, _EVENTS_SHOWN))]
    return f"[{', '.join(items + ['...'] * (count > _EVENTS_SHOWN))}]"


def _itimerspec(call: Call, address: int) -> str:
    interval_s, interval_ns, value_s, value_ns = call.unpack(_ITIMERSPEC, address)
    interval = f"{{tv_sec={interval_s}, tv_nsec={interval_ns}}}"
    return f"{{it_interval={interval}, it_value={{tv_sec={value_s}, tv_nsec={value_ns}}}}}"


def _sigevent(call: Call, address: int) -> str:
    value, signo, notify, thread = call.unpack(_SIGEVENT, address)
    number = (value & 0xFFFF_FFFF ^ 1 << 31) - (1 << 31)
    words = []
    if value:
        words.append(f"sigev_value={{sival_int={number}, sival_ptr={pointer(value)}}}")
    signal = signal_name(signo) if notify in _SIGEV_SIGNAL_KINDS else str(signo)
    words += [f"sigev_signo={signal}", f"sigev_notify={tables.enum('sigev', notify)}"]
    if notify == _SIGEV_THREAD_ID:
        words.append(f"sigev_notify_thread_id={thread}")
    return f"{{{', '.join(words)}}}"


STRUCTS: Final[dict[str, Shower]] = {
    "epoll_event": _epoll_event,
    "epoll_event[]": _epoll_events,
    "itimerspec": _itimerspec,
    "sigevent": _sigevent,
}
