"""What /proc calls open files, and how it writes names (fs/d_path.c, fs/seq_file.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.fs.namei import d_path

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Path
    from kernel_model.fs.file import File
    from kernel_model.task import Task


def path_name(task: Task, path: Path) -> bytes:
    """The name of a place as `task` sees it, also of one that is in no directory.

    One outside the task's root has its whole name here; only getcwd(2) calls it unreachable.
    """
    return path.inode.d_dname() or d_path(task, path).removeprefix(b"(unreachable)")


def file_name(task: Task, file: File) -> bytes:
    """What /proc/<pid>/fd shows for `file`."""
    if file.f_path is not None:
        return path_name(task, file.f_path)
    return file.inode.d_dname() or b"anon_inode:[unknown]"


def mangle(name: bytes, special: bytes) -> bytes:
    r"""`name` with each byte of `special` as \ooo (mangle_path())."""
    for byte in special:
        if byte in name:
            name = name.replace(bytes((byte,)), b"\\%03o" % byte)
    return name
