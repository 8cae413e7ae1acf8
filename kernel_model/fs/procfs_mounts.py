"""/proc/<pid>/mounts and mountinfo (fs/proc_namespace.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi.mount import (
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_RELATIME,
)
from kernel_model.abi.stat import dev_major, dev_minor
from kernel_model.fs.dentry import Path
from kernel_model.fs.namei import d_path
from kernel_model.fs.names import mangle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel_model.fs.dentry import Mount
    from kernel_model.task import Task

_OPTIONS: Final = (
    (MS_NOSUID, b",nosuid"), (MS_NODEV, b",nodev"), (MS_NOEXEC, b",noexec"), (MS_NOATIME, b",noatime"),
    (MS_NODIRATIME, b",nodiratime"), (MS_RELATIME, b",relatime"),
)  # fmt: skip
_SPECIAL: Final = b" \t\n\\#"


def _options(mnt: Mount) -> bytes:
    """The mount's own options."""
    return (b"ro" if mnt.mnt_flags & MS_RDONLY else b"rw") + b"".join(
        name for flag, name in _OPTIONS if mnt.mnt_flags & flag
    )


def _visible(target: Task) -> Iterator[tuple[Mount, bytes]]:
    """(mount, where it is as `target` sees it), for each that is below its root."""
    root = target.fs.root
    for mnt in target.kernel.mounts.mounts:
        if mnt.mnt_parent is None or mnt.mnt_mountpoint is None:
            where = b"/" if mnt is root.mnt else d_path(root, Path(mnt, mnt.mnt_root))
        else:
            where = d_path(root, Path(mnt.mnt_parent, mnt.mnt_mountpoint))
        if where[:1] == b"/":
            yield mnt, where


def mounts(target: Task, task: Task) -> bytes:
    """/proc/<pid>/mounts, in the format of fstab(5)."""
    return b"".join(
        b"%s %s %s %s 0 0\n"
        % (
            mangle(mnt.source.encode(), _SPECIAL),
            mangle(where, _SPECIAL),
            mnt.fs_type.encode(),
            _options(mnt),
        )
        for mnt, where in _visible(target)
    )


def mountinfo(target: Task, task: Task) -> bytes:
    """/proc/<pid>/mountinfo; proc_pid_mountinfo(5) numbers the fields."""
    lines = []
    for mnt, where in _visible(target):
        sb = mnt.mnt_sb
        parent = mnt if mnt.mnt_parent is None else mnt.mnt_parent
        lines.append(
            b"%d %d %d:%d / %s %s - %s %s %s\n"
            % (
                mnt.mnt_id,
                parent.mnt_id,
                dev_major(sb.dev),
                dev_minor(sb.dev),
                mangle(where, _SPECIAL),
                _options(mnt),
                mnt.fs_type.encode(),
                mangle(mnt.source.encode(), _SPECIAL),
                b"ro" if sb.readonly else b"rw",
            )
        )
    return b"".join(lines)
