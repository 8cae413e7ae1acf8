"""Where the fields stand in what the guest gets, against the C headers of both architectures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from struct import pack

import pytest

from kernel_model.abi.stat import DIRENT64, STATFS, STATX
from kernel_model.arch import get
from kernel_model.fs.inode import Kstat
from kernel_model.syscalls.fcntl import FLOCK
from tests.filecalls.calls import ARCHES

HEADERS = """
#define _GNU_SOURCE
#include <stddef.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
"""

STAT_FIELDS = {
    "dev": "st_dev", "ino": "st_ino", "mode": "st_mode", "nlink": "st_nlink", "uid": "st_uid", "gid": "st_gid",
    "rdev": "st_rdev", "size": "st_size", "blksize": "st_blksize", "blocks": "st_blocks", "atime_ns": "st_atim.tv_sec",
    "mtime_ns": "st_mtim.tv_sec", "ctime_ns": "st_ctim.tv_sec",
}  # fmt: skip
STATX_FIELDS = (
    "stx_mask stx_blksize stx_attributes stx_nlink stx_uid stx_gid stx_mode stx_ino stx_size stx_blocks "
    "stx_attributes_mask stx_atime.tv_sec stx_atime.tv_nsec stx_btime.tv_sec stx_btime.tv_nsec stx_ctime.tv_sec "
    "stx_ctime.tv_nsec stx_mtime.tv_sec stx_mtime.tv_nsec stx_rdev_major stx_rdev_minor stx_dev_major stx_dev_minor"
).split()
STATFS_FIELDS = "f_type f_bsize f_blocks f_bfree f_bavail f_files f_ffree f_fsid".split()
STATFS_TAIL = "f_namelen f_frsize f_flags".split()
FLOCK_FIELDS = "l_type l_whence l_start l_len l_pid".split()
DIRENT_FIELDS = "d_ino d_off d_reclen d_type".split()


def compiles(arch: str, lines: list[str], output: Path) -> None:
    text = HEADERS + "\n".join(lines)
    target = f"{arch}-linux-musl"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-c", "-o", str(output), "-x", "c", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def marks(count: int) -> list[int]:
    """Numbers whose two bytes are found nowhere else."""
    return [0x4101 + 0x0101 * i for i in range(count)]


def places(what: str, fields: list[str], image: bytes) -> list[str]:
    """An assertion per field: it is where its mark stands in the image."""
    lines = [f'_Static_assert(sizeof({what}) == {len(image)}, "{what}");']
    for name, mark in zip(fields, marks(len(fields)), strict=True):
        offset = image.find(pack("<H", mark))
        assert offset >= 0
        lines.append(f'_Static_assert(offsetof({what}, {name}) == {offset}, "{name}");')
    return lines


@pytest.mark.parametrize("arch", ARCHES)
def test_offsets(arch: str, tmp_path: Path) -> None:
    values = dict(zip(STAT_FIELDS, marks(len(STAT_FIELDS)), strict=True))
    for name in ("atime_ns", "mtime_ns", "ctime_ns"):
        values[name] *= 1_000_000_000
    module = get(arch)
    stat = module.pack_stat(Kstat(**values, btime_ns=0))
    lines = places("struct stat", list(STAT_FIELDS.values()), stat)
    count = len(STATX_FIELDS)
    lines += places("struct statx", STATX_FIELDS, STATX.pack(*marks(count), 0))
    lines.append('_Static_assert(offsetof(struct statx, stx_dev_minor) + 4 == 144, "stx_mnt_id follows");')
    numbers = marks(len(STATFS_FIELDS) + len(STATFS_TAIL))
    head, tail = numbers[: len(STATFS_FIELDS)], numbers[len(STATFS_FIELDS) :]
    lines += places("struct statfs", STATFS_FIELDS + STATFS_TAIL, STATFS.pack(*head, 0, *tail))
    lines += places("struct flock", FLOCK_FIELDS, FLOCK.pack(*marks(len(FLOCK_FIELDS))))
    record = DIRENT64.pack(*marks(3), 0x61)
    lines += places("struct dirent", DIRENT_FIELDS[:3], record)[1:]
    lines.append(f'_Static_assert(offsetof(struct dirent, d_type) == {record.index(0x61, 18)}, "d_type");')
    lines.append(f'_Static_assert(offsetof(struct dirent, d_name) == {DIRENT64.size}, "d_name");')
    compiles(arch, lines, tmp_path / "o")


def test_negative_times_round_down() -> None:
    for arch in ARCHES:
        module = get(arch)
        stat = Kstat._make([*[0] * 10, -1, -1_500_000_000, 0, 0])
        assert module.STAT.unpack(module.pack_stat(stat))[-6:] == (-1, 999_999_999, -2, 500_000_000, 0, 0)
