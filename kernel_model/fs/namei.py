"""From a name to a place: the walk, component by component (fs/namei.c), and back (fs/d_path.c).

Nothing outside this walk ever resolves a guest's path, so nothing can leave `task.fs.root`: `..` stops there, absolute
links start again there, and the file systems below are asked for one component at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import AT_FDCWD
from kernel_model.abi.openat2 import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
)
from kernel_model.fs.dentry import Dentry, Mount, Path
from kernel_model.fs.permission import MAY_EXEC, inode_permission
from kernel_model.mm.uaccess import strncpy_from_user
from kernel_model.types import SyscallError, UserPtr

if TYPE_CHECKING:
    from kernel_model.fs.file import File
    from kernel_model.task import Task

NAME_MAX: Final = 255
PATH_MAX: Final = 4096
MAXSYMLINKS: Final = 40

LAST_NORM: Final = 0
LAST_ROOT: Final = 1
LAST_DOT: Final = 2
LAST_DOTDOT: Final = 3

_S_IFMT: Final = 0o170000
_S_IFDIR: Final = 0o040000
_S_IFLNK: Final = 0o120000
_SLASH: Final = 0x2F
_SCOPED: Final = RESOLVE_BENEATH | RESOLVE_IN_ROOT


# -- names already looked up -----------------------------------------------------------------------------------------
def d_lookup(directory: Dentry, name: bytes) -> Dentry | None:
    """The dentry called `name` in `directory`, or None where there is no such name; ENAMETOOLONG, the host's errors."""
    child = directory.children.get(name)
    if child is not None and not child.d_inode.volatile:
        return child
    return _lookup_slow(directory, name, child)


def _lookup_slow(directory: Dentry, name: bytes, child: Dentry | None) -> Dentry | None:
    """Ask the file system. `child` is what the name meant the last time, if that is known and may have changed."""
    if len(name) > NAME_MAX:
        raise SyscallError(errno.ENAMETOOLONG)
    parent = directory.d_inode
    if child is None:
        inode = parent.find(name)
    else:
        inode = parent.revalidate(name, child.d_inode)
        if inode is child.d_inode:
            return child
        d_drop(child)
    if inode is None:
        return None
    child = Dentry(name, directory, inode)
    if not inode.volatile or inode.keeps_dentry:
        directory.children[name] = child
    return child


def d_drop(dentry: Dentry) -> None:
    """The name no longer means this: forget it, and let who still holds it see `(deleted)`."""
    dentry.unhashed = True
    siblings = dentry.d_parent.children
    if siblings.get(dentry.d_name) is dentry:
        del siblings[dentry.d_name]


def d_add(directory: Dentry, name: bytes, dentry: Dentry) -> None:
    """`dentry` is called `name` in `directory` from now on."""
    dentry.d_parent = directory
    dentry.d_name = name
    dentry.unhashed = False
    directory.children[name] = dentry


# -- the walk --------------------------------------------------------------------------------------------------------
class Nameidata:
    """A walk under way (`struct nameidata`). `mnt` and `dentry` are where it stands."""

    __slots__ = (
        "cred", "dentry", "directory", "last", "last_type", "links", "mnt", "resolve", "root", "task",
    )  # fmt: skip

    def __init__(self, task: Task, dfd: int, name: bytes, resolve: int = 0) -> None:
        if not name:
            raise SyscallError(errno.ENOENT)
        if len(name) >= PATH_MAX:
            raise SyscallError(errno.ENAMETOOLONG)
        fs = task.fs
        self.task = task
        self.cred = task.cred
        self.resolve = resolve
        self.links = 0
        self.directory = False
        """A trailing slash: what is found must be a directory."""
        self.last = b""
        self.last_type = LAST_ROOT
        self.root = fs.root
        if name[0] == _SLASH and not resolve & _SCOPED:
            self.mnt, self.dentry = fs.root
            return
        if name[0] == _SLASH and resolve & RESOLVE_BENEATH:
            raise SyscallError(errno.EXDEV)
        if dfd == AT_FDCWD:
            self.mnt, self.dentry = fs.pwd
        else:
            file = task.files.get(dfd)
            if file.f_path is None or file.inode.i_mode & _S_IFMT != _S_IFDIR:
                raise SyscallError(errno.ENOTDIR)
            self.mnt, self.dentry = file.f_path
        if resolve & _SCOPED:
            self.root = Path(self.mnt, self.dentry)

    @property
    def path(self) -> Path:
        """Where the walk stands."""
        return Path(self.mnt, self.dentry)

    def link_path_walk(self, name: bytes) -> None:
        """Walk all of `name` but its last component, which is left in `last` and `last_type`."""
        if name[0] == _SLASH:
            self._jump_root()
        if name[-1] == _SLASH:
            self.directory = True
        pending = name.split(b"/")
        last = b""
        while pending:
            last = pending.pop()
            if last:
                break
        if not last:
            self.last_type = LAST_ROOT
            return
        pending.reverse()
        dentry = self.dentry
        cred = self.cred
        while True:
            inode = dentry.d_inode
            if inode.i_mode & 0o111 != 0o111:
                inode_permission(cred, inode, MAY_EXEC)
            if not pending:
                break
            part = pending.pop()
            if not part or part == b".":
                continue
            if part == b"..":
                self.dentry = dentry
                self._follow_dotdot()
                dentry = self.dentry
                continue
            child = dentry.children.get(part)
            if child is None or child.d_inode.volatile:
                child = _lookup_slow(dentry, part, child)
                if child is None:
                    raise SyscallError(errno.ENOENT)
            if child.mounted is not None:
                child = self._cross_mounts(child)
            kind = child.d_inode.i_mode & _S_IFMT
            if kind == _S_IFDIR:
                dentry = child
                continue
            if kind != _S_IFLNK:
                raise SyscallError(errno.ENOTDIR)
            self.dentry = dentry
            target = self._get_link(child)
            dentry = self.dentry
            if target is not None:
                parts = target.split(b"/")
                parts.reverse()
                pending.extend(parts)
            elif dentry.d_inode.i_mode & _S_IFMT != _S_IFDIR:
                raise SyscallError(errno.ENOTDIR)
        self.dentry = dentry
        self.last = last
        if last == b".":
            self.last_type = LAST_DOT
        elif last == b"..":
            self.last_type = LAST_DOTDOT
        else:
            self.last_type = LAST_NORM

    def _jump_root(self) -> None:
        """An absolute name: start again at the root. fs/namei.c:nd_jump_root()."""
        resolve = self.resolve
        if resolve & RESOLVE_BENEATH:
            raise SyscallError(errno.EXDEV)
        if resolve & RESOLVE_NO_XDEV and self.mnt is not self.root.mnt:
            raise SyscallError(errno.EXDEV)
        self.mnt, self.dentry = self.root

    def _get_link(self, link: Dentry) -> bytes | None:
        """The text of a link that must be followed (an absolute one has jumped to the root), or None when a magic link
        has moved the walk. fs/namei.c:pick_link()."""
        self.links += 1
        if self.links > MAXSYMLINKS or self.resolve & RESOLVE_NO_SYMLINKS:
            raise SyscallError(errno.ELOOP)
        inode = link.d_inode
        place = inode.magic_link(self.task)
        if place is not None:
            if self.resolve & RESOLVE_NO_MAGICLINKS:
                raise SyscallError(errno.ELOOP)
            if self.resolve & RESOLVE_NO_XDEV and place.mnt is not self.mnt:
                raise SyscallError(errno.EXDEV)
            if self.resolve & _SCOPED:
                raise SyscallError(errno.EXDEV)
            self.mnt, self.dentry = place
            return None
        target = inode.readlink()
        if not target:
            raise SyscallError(errno.ENOENT)
        if target[0] == _SLASH:
            self._jump_root()
        return target

    def _cross_mounts(self, dentry: Dentry) -> Dentry:
        """The root of what is mounted on `dentry`; `mnt` follows."""
        while dentry.mounted is not None:
            if self.resolve & RESOLVE_NO_XDEV:
                raise SyscallError(errno.EXDEV)
            self.mnt = dentry.mounted
            dentry = self.mnt.mnt_root
        return dentry

    def _follow_dotdot(self) -> None:
        """One step up, out of a mount if need be, never above the root. fs/namei.c:follow_dotdot()."""
        root = self.root
        mnt, dentry = self.mnt, self.dentry
        while True:
            if dentry is root.dentry and mnt is root.mnt:
                if self.resolve & RESOLVE_BENEATH:
                    raise SyscallError(errno.EXDEV)
                break
            if dentry is not mnt.mnt_root:
                dentry = dentry.d_parent
                break
            if mnt.mnt_parent is None or mnt.mnt_mountpoint is None:
                break
            if self.resolve & RESOLVE_NO_XDEV:
                raise SyscallError(errno.EXDEV)
            dentry, mnt = mnt.mnt_mountpoint, mnt.mnt_parent
        self.mnt = mnt
        self.dentry = self._cross_mounts(dentry) if dentry.mounted is not None else dentry

    def handle_dots(self) -> None:
        """The last component is `.`, `..` or nothing but slashes: go there."""
        if self.last_type == LAST_DOTDOT:
            self._follow_dotdot()
        self.last_type = LAST_ROOT

    def walk_last(self, *, follow: bool, creating: bool = False) -> Dentry | None:
        """Look the last component up and go there, through links if `follow`; None (and `dentry` still its directory)
        when there is no such name. `creating` (O_CREAT): EISDIR when a link ends in a slash."""
        while self.last_type == LAST_NORM:
            name = self.last
            directory = self.dentry
            child = directory.children.get(name)
            if child is None or child.d_inode.volatile:
                child = _lookup_slow(directory, name, child)
                if child is None:
                    return None
            if child.mounted is not None:
                child = self._cross_mounts(child)
            if child.d_inode.i_mode & _S_IFMT != _S_IFLNK or not (follow or self.directory):
                self.dentry = child
                return child
            target = self._get_link(child)
            if target is None:
                return self.dentry
            self.link_path_walk(target)
            if creating and self.directory and self.last_type == LAST_NORM:
                raise SyscallError(errno.EISDIR)
        self.handle_dots()
        return self.dentry

    def complete(self) -> Path:
        """The place found, checked against a trailing slash."""
        if self.directory and self.dentry.d_inode.i_mode & _S_IFMT != _S_IFDIR:
            raise SyscallError(errno.ENOTDIR)
        return Path(self.mnt, self.dentry)


# -- what callers use ------------------------------------------------------------------------------------------------
def path_lookup(task: Task, dfd: int, name: bytes, *, follow: bool = True, resolve: int = 0) -> Path:
    """The place that `name` leads to from `dfd` (AT_FDCWD or a directory's descriptor).

    `follow`: go through a link in last place; `resolve`: RESOLVE_* bits of openat2(2). Errors as in path_resolution(7).
    """
    nd = Nameidata(task, dfd, name, resolve)
    nd.link_path_walk(name)
    if nd.walk_last(follow=follow) is None:
        raise SyscallError(errno.ENOENT)
    return nd.complete()


def file_path(file: File) -> Path:
    """Where an open file is; one outside the tree (a pipe, a memfd) gets a place of its own."""
    if file.f_path is not None:
        return file.f_path
    dentry = Dentry(b"", None, file.inode)
    return Path(Mount(dentry, None, None, "anon"), dentry)


def getname(task: Task, name_ptr: UserPtr, *, empty_ok: bool = False) -> bytes:
    """A path from the guest's memory. EFAULT, ENAMETOOLONG, and ENOENT for an empty one unless `empty_ok`."""
    name = strncpy_from_user(task.mm, name_ptr, PATH_MAX)
    if not name and not empty_ok:
        raise SyscallError(errno.ENOENT)
    return name


def path_at(task: Task, dfd: int, name: bytes, *, follow: bool = True, empty_ok: bool = False) -> Path:
    """As `user_path_at`, for a name that is already here."""
    if name or not empty_ok:
        return path_lookup(task, dfd, name, follow=follow)
    if dfd == AT_FDCWD:
        return task.fs.pwd
    return file_path(task.files.get(dfd))


def user_path_at(task: Task, dfd: int, name_ptr: UserPtr, *, follow: bool = True, empty_ok: bool = False) -> Path:
    """The place that a path in the guest's memory leads to. `empty_ok` (AT_EMPTY_PATH): an empty one means `dfd`."""
    return path_at(task, dfd, getname(task, name_ptr, empty_ok=empty_ok), follow=follow, empty_ok=empty_ok)


# -- from a place to a name ------------------------------------------------------------------------------------------
def d_path(task_or_root: Task | Path, path: Path) -> bytes:
    """The absolute name of `path` as its task sees it: ` (deleted)` after a name that is gone, `(unreachable)` before
    one that is outside the root. fs/d_path.c:d_path(), getcwd(2)."""
    root = task_or_root if isinstance(task_or_root, Path) else task_or_root.fs.root
    mnt, dentry = path
    deleted = dentry.unhashed
    names: list[bytes] = []
    reachable = True
    while not (dentry is root.dentry and mnt is root.mnt):
        if dentry is mnt.mnt_root:
            if mnt.mnt_parent is None or mnt.mnt_mountpoint is None:
                # A mount of the kernel's own is in no tree, and out of nobody's reach (fs/d_path.c:simple_dname()).
                reachable = not mnt.mnt_id
                break
            dentry, mnt = mnt.mnt_mountpoint, mnt.mnt_parent
            continue
        names.append(dentry.d_name)
        dentry = dentry.d_parent
    names.reverse()
    name = b"/" + b"/".join(names)
    if not reachable:
        name = b"(unreachable)" + name
    return name + b" (deleted)" if deleted else name
