"""What a run left in the guest's tree: the files and directories that are not as the host has them."""

from __future__ import annotations

import hashlib
import stat
from typing import TYPE_CHECKING

from emu.printable import printable
from kernel_model.fs.overlay import HostBacked, OverlayDirectory
from kernel_model.fs.tmpfs import MemoryDirectory, MemoryFile, MemoryInode, MemoryLink
from kernel_model.types import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel_model.fs.dentry import Dentry, Mount
    from kernel_model.kernel import Kernel


def changed_files(kernel: Kernel) -> dict[str, str]:
    """Path to what is there: kind and mode, owner, size, and a hash of what is in memory. Times are left out."""
    found: dict[str, str] = {}
    for mount in kernel.mounts.mounts:
        root = mount.mnt_root.d_inode if mount.made else None
        if isinstance(root, MemoryDirectory):
            place = _place(mount)
            for path, text in _below(root, place):
                found[printable(path)] = text
    return found


def _place(mount: Mount) -> bytes:
    """Where a mount is, without a slash at the end."""
    parts: list[bytes] = []
    dentry: Dentry | None = mount.mnt_mountpoint
    above = mount.mnt_parent
    while dentry is not None and above is not None:
        while dentry is not above.mnt_root:
            parts.append(dentry.d_name)
            dentry = dentry.d_parent
        dentry, above = above.mnt_mountpoint, above.mnt_parent
    return b"".join(b"/" + part for part in reversed(parts))


def _below(directory: MemoryDirectory, place: bytes) -> Iterator[tuple[bytes, str]]:
    """The changes in a directory and below it."""
    pending = [(directory, place)]
    while pending:
        directory, place = pending.pop()
        if isinstance(directory, OverlayDirectory):
            for name in sorted(directory.whiteouts or ()):
                if name not in directory.entries:
                    yield place + b"/" + name, "removed"
        for name, inode in sorted(directory.entries.items()):
            if not isinstance(inode, MemoryInode):
                continue
            path = place + b"/" + name
            if not _is_the_hosts(inode):
                yield path, _describe(inode)
            if isinstance(inode, MemoryDirectory):
                pending.append((inode, path))


def _is_the_hosts(inode: MemoryInode) -> bool:
    """Is it as the host has it?"""
    if not isinstance(inode, HostBacked) or inode.lower is None:
        return False
    if isinstance(inode, OverlayDirectory):
        lower = inode.lower
        return (inode.i_mode, inode.i_uid, inode.i_gid) == (lower.mode, lower.uid, lower.gid)
    return inode.volatile


def _describe(inode: MemoryInode) -> str:
    text = f"{stat.filemode(inode.i_mode)} {inode.i_uid}:{inode.i_gid}"
    if isinstance(inode, MemoryLink):
        return f"{text} -> {printable(inode.target)}"
    if isinstance(inode, MemoryFile):
        return f"{text} {inode.i_size} bytes, sha256 {_hash(inode)}"
    return text


def _hash(inode: MemoryFile) -> str:
    """Of the pages that are in memory, and where they are."""
    result = hashlib.sha256()
    if inode.mapping is not None:
        ram = inode.i_sb.frames.ram
        for index, frame in sorted(inode.mapping.pages.items()):
            used = min(PAGE_SIZE, inode.i_size - index * PAGE_SIZE)
            if used > 0:
                result.update(b"%d:" % index)
                result.update(ram[frame : frame + used])
    return result.hexdigest()[:16]
