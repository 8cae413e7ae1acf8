"""Files that never had a name: memfd_create(2) (mm/memfd.c, mm/shmem.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.fs.dentry import Dentry, Mount, Path
from kernel_model.fs.tmpfs import MemoryDirectory, MemoryFile, MemorySuperBlock

if TYPE_CHECKING:
    from kernel_model.fs.file import File
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task


def _shm_mount(kernel: Kernel) -> Mount:
    """The tmpfs that such files are on (mm/shmem.c:shm_mnt); it is mounted nowhere."""
    mnt = kernel.shm_mnt
    if mnt is None:
        sb = MemorySuperBlock(kernel, kernel.mounts.new_dev())
        mnt = kernel.shm_mnt = Mount(Dentry(b"/", None, sb.make_root(0o1777)), None, None, "tmpfs", 0, "tmpfs")
    return mnt


def memfd_file(task: Task, name: bytes, mode: int, seals: int, flags: int) -> File:
    """An open, empty regular file; `name` is what /proc/self/fd shows. `seals`: F_SEAL_* it begins with."""
    mnt = _shm_mount(task.kernel)
    root = mnt.mnt_root
    directory = root.d_inode
    assert isinstance(directory, MemoryDirectory)
    inode = directory.tmpfile(mode, task.cred.fsuid, task.cred.fsgid, linkable=False)
    assert isinstance(inode, MemoryFile)
    inode.page_cache().seals = seals
    dentry = Dentry(name, root, inode)
    dentry.unhashed = True
    return inode.open(Path(mnt, dentry), flags, task)
