"""What Linux itself makes of a sequence of calls on credentials. Run as a script it is the side that makes them.

Each sequence is carried out by a child of its own, whose state after each call is reported. Needs root.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SETTERS = (
    "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups", "capset",
    "prctl",
)  # fmt: skip
_CAP_VERSION_3 = 0x20080522


def _pack(name: str, args: list[Any]) -> list[Any]:
    """Raw arguments of a call; lists become arrays in memory."""
    if name == "setgroups":
        groups = args[0]
        return [len(groups), (ctypes.c_uint32 * max(len(groups), 1))(*groups)]
    if name == "capset":
        effective, permitted, inheritable = args
        header = (ctypes.c_uint32 * 2)(_CAP_VERSION_3, 0)
        words = [cap >> shift & 0xFFFF_FFFF for shift in (0, 32) for cap in (effective, permitted, inheritable)]
        return [header, (ctypes.c_uint32 * 6)(*words)]
    return [ctypes.c_ulong(arg) for arg in args]


def _serve() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = json.loads(sys.stdin.readline())

    def call(name: str, *args: Any) -> int:
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(numbers[name]), *args)
        return -ctypes.get_errno() if result == -1 and ctypes.get_errno() else int(result)

    def state() -> list[Any]:
        header = (ctypes.c_uint32 * 2)(_CAP_VERSION_3, 0)
        caps = (ctypes.c_uint32 * 6)()
        call("capget", header, caps)
        bset = sum(call("prctl", 23, ctypes.c_ulong(cap)) << cap for cap in range(41))
        ambient = sum(call("prctl", 47, 1, ctypes.c_ulong(cap), 0, 0) << cap for cap in range(41))
        minus = ctypes.c_ulong(0xFFFF_FFFF)
        return [
            list(os.getresuid()), list(os.getresgid()), call("setfsuid", minus), call("setfsgid", minus),
            sorted(os.getgroups()), *(caps[i] | caps[i + 3] << 32 for i in range(3)), bset, ambient,
            call("prctl", 27), call("prctl", 3),
        ]  # fmt: skip

    for line in sys.stdin:
        read_fd, write_fd = os.pipe()
        child = os.fork()
        if not child:
            report: list[Any] = [[0, state()]]
            for name, args in json.loads(line):
                result = call(name, *_pack(name, args))
                report.append([result, state()])
            os.write(write_fd, json.dumps(report).encode())
            os._exit(0)
        os.close(write_fd)
        with os.fdopen(read_fd) as pipe:
            print(pipe.read(), flush=True)
        os.waitpid(child, 0)


class NativeLinux:
    """The other side, kept for a whole test session."""

    def __init__(self, numbers: dict[str, int]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._ask(json.dumps(numbers), answer=False)

    def _ask(self, line: str, *, answer: bool = True) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline()) if answer else None

    def run(self, sequence: list[tuple[str, list[Any]]]) -> list[Any]:
        """[result, state] before the first call and after each."""
        return self._ask(json.dumps(sequence))

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


if __name__ == "__main__":
    _serve()
