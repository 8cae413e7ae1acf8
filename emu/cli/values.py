"""Values of `uabi-emu run`'s options from the text a person typed; each raises `CliError` with what to do."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from emu.cli.errors import STATUS_NOT_FOUND, CliError

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
DEFAULT_PATH = b"/usr/local/bin:/usr/bin:/bin"
MEMORY_MIN_BYTES = 16 << 20
CPUS_MAX = 64
_TOO_FAR = 1 << 34


def memory_size(text: str) -> int:
    """Bytes of a size such as `512M` or `4G` (binary units, one letter, any case)."""
    number = text.strip().upper().removesuffix("B").removesuffix("I")
    unit = number[-1:] if number[-1:] in _UNITS else ""
    digits = number.removesuffix(unit)
    if not (digits.isascii() and digits.isdigit()):
        raise CliError(f"--memory: '{text}' is no size: write for example 512M or 4G")
    size = int(digits[:20]) * _UNITS[unit]
    if not MEMORY_MIN_BYTES <= size <= 1 << 40:
        raise CliError(f"--memory: {text}: choose between 16M and 1T")
    return size & -4096


def cpus(text: str) -> int:
    """A number of logical CPUs."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= CPUS_MAX):
        raise CliError(f"--cpus: '{text}': write a number from 1 to {CPUS_MAX}")
    return int(text)


def bind(text: str) -> tuple[str, str, bool]:
    """(host path, guest path, writable) of `HOST:GUEST[:ro|rw]`; read-only unless it says rw."""
    rest, _, mode = text.rpartition(":")
    if mode not in ("ro", "rw"):
        rest, mode = text, "ro"
    host, colon, guest = rest.rpartition(":")
    if not colon or not host or not guest.startswith("/"):
        raise CliError(f"--bind: '{text}': write HOST:GUEST or HOST:GUEST:rw with an absolute GUEST")
    if not os.path.exists(host):
        raise CliError(f"--bind: {host}: no such file or directory: make it first")
    return os.path.abspath(host), guest, mode == "rw"


def timeout_seconds(text: str) -> float:
    """Seconds, above 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e9:
        raise CliError(f"--timeout: '{text}' is no time: write seconds, for example 10 or 0.5")
    return seconds


def nanoseconds(option: str, text: str) -> float:
    """The value of `option`: nanoseconds, from 0."""
    try:
        time_ns = float(text)
    except ValueError:
        time_ns = -1.0
    if not 0 <= time_ns <= 1e9:
        raise CliError(f"{option}: '{text}' is no time: write nanoseconds, for example 100 or 0.3")
    return time_ns


def time_ns(text: str) -> tuple[int, int]:
    """The seconds that CLOCK_MONOTONIC and CLOCK_BOOTTIME are ahead, of `MONOTONIC_S[:BOOTTIME_S]`; 0 for none."""
    monotonic, _, boottime = text.partition(":")
    try:
        offsets = int(monotonic or "0"), int(boottime or "0")
    except ValueError:
        offsets = _TOO_FAR, 0
    if not text or max(map(abs, offsets)) >= _TOO_FAR:
        raise CliError(f"--time-ns: '{text}': write whole seconds, as 3600, 3600:7200 or -60")
    return offsets


def seed(text: str) -> int:
    """A seed: any whole number of at most 64 bits, decimal or 0x."""
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise CliError(f"--seed: '{text}' is no seed: write a whole number from 0")
    return value


def count(option: str, text: str) -> int:
    """The value of `option`: a whole number from 1."""
    try:
        value = int(text, 0)
    except ValueError:
        value = 0
    if value < 1:
        raise CliError(f"{option}: '{text}' is no count: write a whole number from 1")
    return value


def check_calls(text: str, option: str = "--bounce-set") -> None:
    """See that the value of `option` is all, legacy, or a list of calls that some architecture has."""
    if text in ("all", "legacy"):
        return
    from kernel_model.syscalls.groups import is_call, words_of

    for word in words_of(text):
        if not is_call(word):
            raise CliError(f"{option}: '{word}' is no call: write all, legacy, or a list such as read,openat,64")


def host_environment() -> dict[bytes, bytes]:
    """The environment that we were started with: in the C locale Python adds LC_CTYPE to its own (PEP 538)."""
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return dict(os.environb)
    return {name: value for name, equals, value in (entry.partition(b"=") for entry in entries) if equals}


def environment(settings: Iterable[str], host: Mapping[bytes, bytes], *, clear: bool) -> dict[bytes, bytes]:
    """The guest's environment: the host's (nothing of it with `clear`) with `settings` applied in order.

    `NAME=VALUE` sets; `NAME` alone takes the host's value, and is left out where the host has none.
    """
    result = {} if clear else dict(host)
    for setting in settings:
        name, equals, value = os.fsencode(setting).partition(b"=")
        if not name:
            raise CliError(f"--env: '{setting}' has no name: write NAME=VALUE, or NAME for the host's value")
        if equals:
            result[name] = value
        elif name in host:
            result[name] = host[name]
    return result


def program(name: str, path: bytes | None, root: str, cwd: str) -> str:
    """Where the guest finds the program called `name`: with a slash, just there; without, in `cwd`, then along `path`.

    `path` is the guest's PATH (None: not set), `root` the host directory of its `/`, `cwd` a directory of the guest.
    """
    if "/" in name:
        return name

    def is_there(place: str) -> bool:
        return os.path.lexists(os.path.join(root, place.lstrip("/"), name))

    if is_there(cwd):
        return name
    for place in os.fsdecode(DEFAULT_PATH if path is None else path).split(":"):
        if place.startswith("/") and is_there(place):
            return f"{place.rstrip('/')}/{name}"
    raise CliError(f"{name}: not found in the working directory or along PATH: write where it is", STATUS_NOT_FOUND)


def directory(option: str, path: str) -> str:
    """The absolute path of a host directory that must be there."""
    if not os.path.isdir(path):
        what = "not a directory" if os.path.exists(path) else "no such directory"
        raise CliError(f"{option}: {path}: {what}: name one that is there")
    return os.path.abspath(path)
