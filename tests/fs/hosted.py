"""A machine whose standard streams are descriptors of the test: pipes, pseudoterminals, files."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator

import pytest

from emu.host.real import RealHost
from kernel_model.fs.streams import open_streams
from kernel_model.types import SyscallError
from kernel_model.wait import Blocked
from tests.filecalls.calls import Calls

NONE = -1


class Hosted(Calls):
    """`Calls` with streams. Give it what the emulator shall have as 0, 1 and 2; it closes them in the end."""

    def __init__(self, stdin: int = NONE, stdout: int = NONE, stderr: int = NONE) -> None:
        super().__init__("x86_64")
        self._own = [os.open("/dev/null", os.O_RDWR) if fd == NONE else fd for fd in (stdin, stdout, stderr)]
        self.host = RealHost((self._own[0], self._own[1], self._own[2]))
        self.model.kernel.host = self.host
        open_streams(self.model.kernel, self.task, self.task.files)

    def close(self) -> None:
        """Give everything back."""
        self.task.files.close_all(self.task)
        self.host.close()
        for fd in set(self._own):
            try:
                os.close(fd)
            except OSError:
                pass  # the guest's last close already did

    def read(self, fd: int, count: int) -> bytes | int:
        """read(2): bytes, or a negative errno."""
        buffer = self.model.alloc(max(count, 1))
        got = self("read", fd, buffer, count)
        return got if got < 0 else self.model.get(buffer, got)

    def write(self, fd: int, data: bytes) -> int:
        """write(2)."""
        return self("write", fd, self.model.put(data), len(data))

    def patiently(self, name: str, *args: int) -> int:
        """The call, waiting as the entry path does."""
        end = time.monotonic() + 20
        try:
            return self(name, *args)
        except Blocked as blocked:
            while True:
                assert time.monotonic() < end, "never ready"
                self.host.wait(blocked.read_fds, blocked.write_fds, 1_000_000_000)
                try:
                    return self._handlers[name](self.task, *[*args, *[0] * (6 - len(args))])
                except Blocked as again:
                    blocked = again
                except SyscallError as error:
                    return -error.errno

    def ioctl_ints(self, fd: int, cmd: int, layout: str, *values: int) -> tuple[int, ...] | int:
        """ioctl(2) with a structure of integers: what it holds afterwards, or a negative errno."""
        pointer = self.model.put(struct.pack(layout, *values) if values else bytes(struct.calcsize(layout)))
        result = self("ioctl", fd, cmd, pointer)
        return struct.unpack(layout, self.model.get(pointer, struct.calcsize(layout))) if result == 0 else result

    def link(self, path: bytes) -> bytes:
        """readlink(2)."""
        buffer = self.model.alloc(4096)
        length = self("readlinkat", -100, path, buffer, 4096)
        assert length >= 0, (path, length)
        return self.model.get(buffer, length)


class Machines:
    """Makes `Hosted` machines and closes them."""

    def __init__(self) -> None:
        self._made: list[Hosted] = []

    def __call__(self, stdin: int = NONE, stdout: int = NONE, stderr: int = NONE) -> Hosted:
        self._made.append(Hosted(stdin, stdout, stderr))
        return self._made[-1]

    def close(self) -> None:
        """Close them all."""
        for machine in self._made:
            machine.close()


@pytest.fixture
def hosted() -> Iterator[Machines]:
    """Make machines with `hosted(stdin, stdout, stderr)`."""
    machines = Machines()
    yield machines
    machines.close()
