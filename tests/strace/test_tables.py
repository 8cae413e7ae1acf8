"""The tables of constants are Linux's own, and every declared kind can be shown."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from emu.strace import structs, tables
from emu.strace.calls import reshape
from emu.strace.decode import argument_counts, arguments_of, plain_registers
from emu.strace.formats import FORMATS
from emu.strace.results import RESULT_FORMS
from guests.build import ARCHES
from kernel_model.arch import aarch64
from kernel_model.syscalls.declare import Syscall
from kernel_model.syscalls.table import declared, rows

HEADERS = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <termios.h>
#include <asm/ioctls.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/fs.h>
#include <linux/fiemap.h>
#include <linux/ioprio.h>
#include <linux/magic.h>
#include <linux/membarrier.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <linux/nsfs.h>
#include <linux/openat2.h>
#include <linux/random.h>
#include <linux/rseq.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/timex.h>
#include <sys/stat.h>
#include <sys/xattr.h>
"""
# Where the C library or the architecture has another number than the kernel's generic one, which is what is traced.
OTHERS = {"O_ACCMODE", "O_LARGEFILE", "O_DIRECT", "O_DIRECTORY", "O_NOFOLLOW", "O_TMPFILE"}
# Their numbers hold the size of a structure that cannot be had beside the C library's.
WITHOUT_STRUCTURE = {"TCGETS2", "TCSETS2", "TCSETSW2", "TCSETSF2"}


def _assertions(names: dict[str, int]) -> str:
    lines = [HEADERS]
    for name, value in names.items():
        condition = f"(unsigned)({name}) == {value & 0xFFFF_FFFF}U"
        lines.append(f'#ifdef {name}\n_Static_assert({condition}, "{name}");\n#define CHECKED_{name}\n#endif')
    return "\n".join(lines)


@pytest.mark.parametrize("arch", ARCHES)
def test_constants_are_those_of_the_headers(arch: str, tmp_path: Path) -> None:
    names = {
        constant.name: constant.value
        for table in tables.all_tables().values()
        for constant in table.constants
        if constant.name not in OTHERS | WITHOUT_STRUCTURE
    }
    source = tmp_path / "constants.c"
    source.write_text(_assertions(names))
    command = [sys.executable, "-m", "ziglang", "cc", "-target", f"{arch}-linux-musl", "-E", "-dM", str(source)]
    macros = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"^#define CHECKED_(\w+)", macros, re.M))
    command[-3:] = ["-c", "-o", str(tmp_path / "constants.o"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, [line for line in done.stderr.splitlines() if "error:" in line]
    # the rest are enumerators, inner ones of the kernel, and newer than the headers
    assert len(known) > 0.8 * len(names), sorted(set(names) - known)


def test_flags_cover_what_they_show() -> None:
    assert tables.flags("open", 0o2) == "O_RDWR"
    assert tables.flags("open", 0) == "O_RDONLY"
    assert tables.flags("prot", 0) == "PROT_NONE"
    assert tables.flags("rename", 0) == "0"
    assert tables.flags("rename", 9) == "RENAME_NOREPLACE|0x8"
    assert tables.flags("rename", 0x40) == "0x40 /* RENAME_??? */"
    assert tables.enum("seek", 9) == "0x9 /* SEEK_??? */"
    assert tables.flags("mmap", 0x32) == "MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS"


def _every_call() -> list[Syscall]:
    return [call for row in rows() if (call := declared(row)) is not None]


@pytest.mark.parametrize("call", _every_call(), ids=lambda call: call.name)
def test_every_declared_kind_can_be_shown(call: Syscall) -> None:
    """As declared, and as an earlier argument changes it."""
    arguments = arguments_of(call)
    assert call.returns in RESULT_FORMS
    for first in (*range(70), 1024, 1026, 1030, 1033, 0x5401, 0x5413, 0xFFFF_FFFF_FFFF_FFFF):
        for argument in reshape(call.name, arguments, (first,) * 6, aarch64):
            kind = argument.kind
            assert kind.show in FORMATS, f"give {kind.show} a format in emu/strace/formats.py"
            if kind.show in ("flags", "enum", "commented"):
                assert kind.detail in tables.all_tables(), f"give {kind.detail} a table in emu/strace/constants"
            if kind.show in ("struct", "outstruct", "inout", "remaining"):
                assert kind.detail in structs.STRUCTS, f"give {kind.detail} a text in emu/strace/structs.py"
            if kind.show in ("inbuf", "iovec", "outiovec"):
                default = {"inbuf": "count"}.get(kind.show, "vlen")
                assert (kind.detail or default) in {one.name for one in arguments}, kind


def test_calls_that_are_not_there_have_their_number_of_arguments() -> None:
    # never implemented by Linux either, or gone before anybody wrote down what they took
    nowhere = {"getpmsg", "putpmsg", "afs_syscall", "tuxcall", "security", "vserver", "epoll_ctl_old", "epoll_wait_old"}
    missing = {row.name for row in rows() if declared(row) is None}
    known = set(argument_counts())
    assert missing - nowhere - known == set(), "add them to emu/strace/argument_counts.tbl"
    assert known - missing == set(), "take them out of emu/strace/argument_counts.tbl: they are declared now"
    assert len(plain_registers("sendto")) == 6
    assert len(plain_registers("syscall_0x1f7")) == 6
