"""Terminals: the one behind the emulator's streams, and its requests (drivers/tty/tty_io.c, tty_ioctl.c,
tty_jobctrl.c).

The line discipline is the host's: echo, editing, Ctrl-C and raw mode all happen there. What the model keeps
is which of its sessions the terminal controls, and which process group is in the foreground.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi import termios as abi
from kernel_model.abi.fcntl import O_NONBLOCK
from kernel_model.abi.signal import SI_KERNEL, SIGCONT, SIGHUP
from kernel_model.cred import CAP_SYS_ADMIN
from kernel_model.fs.streams import StreamFile, Streams
from kernel_model.mm.uaccess import copy_from_user, copy_to_user, get_user, put_user
from kernel_model.ns.pid import find_vpid, pid_vnr
from kernel_model.signal.sighand import SigInfo
from kernel_model.types import SyscallError
from kernel_model.wait import Blocked

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Path
    from kernel_model.fs.inode import Inode
    from kernel_model.task import Task

_DECISECOND_NS: Final = 100_000_000

# cmd -> (layout of the argument, when: 0 now, 1 after output drained, 2 and input flushed)
_SET: Final = {
    abi.TCSETS: (abi.TERMIOS, 0), abi.TCSETSW: (abi.TERMIOS, 1), abi.TCSETSF: (abi.TERMIOS, 2),
    abi.TCSETS2: (abi.TERMIOS2, 0), abi.TCSETSW2: (abi.TERMIOS2, 1), abi.TCSETSF2: (abi.TERMIOS2, 2),
    abi.TCSETA: (abi.TERMIO, 0), abi.TCSETAW: (abi.TERMIO, 1), abi.TCSETAF: (abi.TERMIO, 2),
}  # fmt: skip


class Terminal:
    """What the kernel model keeps of a terminal. `session` 0: it controls none."""

    __slots__ = ("exclusive", "left", "pgrp", "session")

    def __init__(self, session: int, pgrp: int) -> None:
        self.session = session
        self.pgrp = pgrp
        self.left: set[int] = set()
        """Processes of the session that gave it up with TIOCNOTTY."""
        self.exclusive = False

    def controls(self, task: Task) -> bool:
        """Is it the task's controlling terminal?"""
        return bool(self.session) and self.session == task.signal.session and task.tgid not in self.left


def controlling_terminal(task: Task) -> Terminal | None:
    """The task's controlling terminal, for /dev/tty and /proc."""
    streams = task.kernel.streams
    if streams is not None:
        for terminal in streams.terminals:
            if terminal.controls(task):
                return terminal
    return None


def open_controlling_terminal(task: Task, inode: Inode, path: Path, flags: int) -> TerminalFile:
    """/dev/tty: ENXIO without a controlling terminal (drivers/tty/tty_io.c:tty_open_current_tty())."""
    terminal = controlling_terminal(task)
    streams = task.kernel.streams
    if terminal is None or streams is None:
        raise SyscallError(errno.ENXIO)
    for stream in streams.inodes:
        if stream.terminal is terminal and stream.host_fds:
            file = stream.open(path, flags, task)
            assert isinstance(file, TerminalFile)
            file.inode = inode
            return file
    raise SyscallError(errno.EIO)


class TerminalFile(StreamFile):
    """A description of a terminal."""

    __slots__ = ("terminal",)

    def __init__(
        self,
        inode: Inode,
        path: Path | None,
        flags: int,
        streams: Streams,
        read_fd: int,
        write_fd: int,
        terminal: Terminal,
    ) -> None:
        super().__init__(inode, path, flags, streams, read_fd, write_fd)
        self.terminal = terminal

    def nothing_yet(self, task: Task) -> bytes:
        """As `StreamFile`, but where MIN is 0 in raw mode a read ends without a byte: at once, or after
        TIME (termios(3)).
        """
        *_, lflag, _line, cc, _ispeed, _ospeed = abi.TERMIOS2.unpack(self._get_termios2())
        if lflag & abi.ICANON or cc[abi.VMIN] or self.f_flags & O_NONBLOCK:
            return super().nothing_yet(task)
        deadline_ns = task.call_state
        now_ns = task.kernel.clock.monotonic_ns()
        if not isinstance(deadline_ns, int):
            deadline_ns = now_ns + cc[abi.VTIME] * _DECISECOND_NS
        if now_ns >= deadline_ns:
            return b""
        task.call_state = deadline_ns
        raise Blocked(read_fds=(self.read_fd,), deadline_ns=deadline_ns)

    def _any_fd(self) -> int:
        return max(self.read_fd, self.write_fd)

    def _get_termios2(self) -> bytes:
        try:
            return self.host.tty_get(self._any_fd())
        except OSError as error:
            raise SyscallError(error.errno or errno.EIO) from None

    def ioctl(self, task: Task, cmd: int, arg: int) -> int:
        """Requests of ioctl_tty(2); ENOTTY for one that a pseudoterminal does not know."""
        mm = task.mm
        if cmd == abi.TCGETS:
            copy_to_user(mm, arg, self._get_termios2()[: abi.TERMIOS.size])
        elif cmd == abi.TCGETS2:
            copy_to_user(mm, arg, self._get_termios2())
        elif cmd == abi.TCGETA:
            iflag, oflag, cflag, lflag, line, cc, _, _ = abi.TERMIOS2.unpack(self._get_termios2())
            low = (flag & 0xFFFF for flag in (iflag, oflag, cflag, lflag))
            put_user(mm, arg, abi.TERMIO, *low, line, cc[:8])
        elif cmd in _SET:
            self._set_termios(task, cmd, arg)
        elif cmd == abi.TIOCGWINSZ:
            put_user(mm, arg, abi.WINSIZE, *self._host_winsize())
        elif cmd == abi.TIOCSWINSZ:
            winsize = get_user(mm, arg, abi.WINSIZE)
            try:
                self.host.tty_set_winsize(self._any_fd(), *winsize)
            except OSError as error:
                raise SyscallError(error.errno or errno.EIO) from None
        elif cmd in (abi.FIONREAD, abi.TIOCOUTQ):
            put_user(mm, arg, abi.INT, self.host_ioctl(cmd, 0))
        elif cmd in (abi.TCSBRK, abi.TCXONC, abi.TCFLSH):
            return self.host_ioctl(cmd, arg & 0x7FFF_FFFF)
        elif cmd == abi.TCSBRKP:
            return self.host_ioctl(abi.TCSBRK, 0)
        elif cmd in (abi.TIOCSBRK, abi.TIOCCBRK):
            pass
        elif cmd == abi.TIOCGETD:
            put_user(mm, arg, abi.INT, abi.N_TTY)
        elif cmd == abi.TIOCGDEV:
            put_user(mm, arg, abi.UINT, self.inode.i_rdev & 0xFFFF_FFFF)
        elif cmd == abi.TIOCEXCL:
            self.terminal.exclusive = True
        elif cmd == abi.TIOCNXCL:
            self.terminal.exclusive = False
        elif cmd == abi.TIOCGEXCL:
            put_user(mm, arg, abi.INT, int(self.terminal.exclusive))
        elif cmd == abi.TIOCSTI:
            # QUIRK: TIOCSTI is EIO, as with dev.tty.legacy_tiocsti=0, so that no guest types for its user.
            raise SyscallError(errno.EIO)
        else:
            return self._job_control(task, cmd, arg)
        return 0

    def _host_winsize(self) -> tuple[int, int, int, int]:
        try:
            return self.host.tty_winsize(self._any_fd())
        except OSError as error:
            raise SyscallError(error.errno or errno.EIO) from None

    def _set_termios(self, task: Task, cmd: int, arg: int) -> None:
        """tty_ioctl.c:set_termios(): what an old layout lacks stays as it is."""
        layout, when = _SET[cmd]
        new = copy_from_user(task.mm, arg, layout.size)
        if layout is not abi.TERMIOS2:
            old = self._get_termios2()
            if layout is abi.TERMIOS:
                new += old[layout.size :]
            else:
                *flags, _, cc, ispeed, ospeed = abi.TERMIOS2.unpack(old)
                *low, line, first_cc = abi.TERMIO.unpack(new)
                merged = [flag & ~0xFFFF | half for flag, half in zip(flags, low, strict=True)]
                new = abi.TERMIOS2.pack(*merged, line, first_cc + cc[8:], ispeed, ospeed)
        try:
            self.host.tty_set(self._any_fd(), new, when)
        except OSError as error:
            raise SyscallError(error.errno or errno.EIO) from None

    def _job_control(self, task: Task, cmd: int, arg: int) -> int:
        """tty_jobctrl.c:tty_jobctrl_ioctl()."""
        terminal = self.terminal
        if cmd == abi.TIOCSCTTY:
            return self._set_controlling(task, arg)
        if cmd not in (abi.TIOCNOTTY, abi.TIOCGPGRP, abi.TIOCSPGRP, abi.TIOCGSID):
            raise SyscallError(errno.ENOTTY)
        if not terminal.controls(task):
            raise SyscallError(errno.ENOTTY)
        if cmd == abi.TIOCGPGRP:
            put_user(task.mm, arg, abi.INT, pid_vnr(task, terminal.pgrp))
        elif cmd == abi.TIOCGSID:
            put_user(task.mm, arg, abi.INT, pid_vnr(task, terminal.session))
        elif cmd == abi.TIOCSPGRP:
            (pgrp,) = get_user(task.mm, arg, abi.INT)
            if pgrp < 0:
                raise SyscallError(errno.EINVAL)
            pgrp = find_vpid(task, pgrp)
            members = [other.signal for other in task.kernel.tasks.values() if other.signal.pgrp == pgrp]
            if not members:
                raise SyscallError(errno.ESRCH)
            if all(member.session != task.signal.session for member in members):
                raise SyscallError(errno.EPERM)
            terminal.pgrp = pgrp
        else:
            self._give_up(task)
        return 0

    def _set_controlling(self, task: Task, arg: int) -> int:
        """tty_jobctrl.c:tiocsctty()."""
        terminal = self.terminal
        leader = task.signal.session == task.signal.tgid
        if leader and terminal.session == task.signal.session:
            terminal.left.discard(task.tgid)
            return 0
        if not leader or controlling_terminal(task) is not None:
            raise SyscallError(errno.EPERM)
        privileged = task.cred.capable(CAP_SYS_ADMIN)
        if terminal.session and not (arg == 1 and privileged):
            raise SyscallError(errno.EPERM)
        if not self.readable and not privileged:
            raise SyscallError(errno.EPERM)
        terminal.session = task.signal.session
        terminal.pgrp = task.signal.pgrp
        terminal.left.clear()
        return 0

    def _give_up(self, task: Task) -> None:
        """TIOCNOTTY: from a session's leader it is a hang-up for the foreground
        (tty_jobctrl.c:disassociate_ctty()).
        """
        terminal = self.terminal
        if task.signal.session != task.signal.tgid:
            terminal.left.add(task.tgid)
            return
        from kernel_model.signal.deliver import send_signal

        seen: set[int] = set()
        for other in task.kernel.tasks.values():
            if other.signal.pgrp == terminal.pgrp and other.tgid not in seen:
                seen.add(other.tgid)
                for signum in (SIGHUP, SIGCONT):
                    send_signal(task.kernel, other, SigInfo(signum, SI_KERNEL), group=True)
        terminal.session = terminal.pgrp = 0
        terminal.left.clear()
