"""The kernel model's numbers are those of Linux's own headers, for both architectures.

Nothing is run: the compiler is given a file of static assertions, so an AArch64 host needs no more than this.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from struct import Struct

import pytest

import kernel_model.abi
from guests.build import ARCHES
from kernel_model.arch import aarch64, x86_64
from tests.harness import ROOT

TABLE = ROOT / "kernel_model" / "syscalls" / "syscalls.tbl"
HEADERS = """
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#include <dirent.h>
#include <asm/unistd.h>
#include <linux/audit.h>
#include <linux/auxvec.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/fiemap.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <linux/membarrier.h>
#include <linux/mempolicy.h>
#include <linux/mman.h>
#include <linux/openat2.h>
#include <linux/prctl.h>
#include <linux/rseq.h>
#include <linux/seccomp.h>
#include <linux/wait.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/utsname.h>
#include <sys/xattr.h>
"""
# Names of the model that the headers have under the same name with another meaning, with the reason.
OTHERS = {
    "SIGRTMIN": "the C library keeps some for itself, and asks a function",
    "SIGRTMAX": "as SIGRTMIN",
    "NSIG": "one more in the C library",
    "O_ACCMODE": "with O_PATH in the C library",
    "O_LARGEFILE": "0 for 64-bit programs in the C library, a bit in the kernel",
}
# The model speaks asm-generic's numbers; kernel_model.arch turns these into AArch64's own at the border.
TRANSLATED = {"O_DIRECT", "O_DIRECTORY", "O_NOFOLLOW", "O_TMPFILE"}
# Made by the kernel's own trampolines only; a program that tries gets SIGILL (arch/x86/kernel/uprobes.c).
NOT_FOR_PROGRAMS = {"uprobe", "uretprobe"}
# Structures of one layout on both architectures, by the model's name.
STRUCTURES = {
    "STATX": "struct statx",
    "STATFS": "struct statfs",
    "TIMESPEC": "struct timespec",
    "TIMEVAL": "struct timeval",
    "RLIMIT": "struct rlimit",
    "TMS": "struct tms",
    "POLLFD": "struct pollfd",
    "FLOCK": "struct flock",
    "ITIMERVAL": "struct itimerval",
    "WINSIZE": "struct winsize",
    "SOCK_FPROG": "struct sock_fprog",
    "SOCK_FILTER": "struct sock_filter",
    "SECCOMP_DATA": "struct seccomp_data",
    "NOTIF_SIZES": "struct seccomp_notif_sizes",
}


def _compile(arch: str, text: str, *flags: str) -> str:
    """Give a text to the compiler; what it prints, or its complaints as a failure."""
    command = [sys.executable, "-m", "ziglang", "cc", "-target", f"{arch}-linux-musl", *flags, "-x", "c", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    errors = "\n".join(line for line in done.stderr.splitlines() if "error:" in line)
    assert done.returncode == 0, f"{arch}: the model and the headers differ\n{errors or done.stderr}"
    return done.stdout


@cache
def _macros(arch: str) -> dict[str, str]:
    """All object-like macros of the headers."""
    listing = _compile(arch, HEADERS, "-E", "-dM")
    return dict(re.findall(r"^#define (\w+) (.+)$", listing, re.M))


def _table() -> list[tuple[str, dict[str, int | None]]]:
    rows = []
    for line in TABLE.read_text().splitlines():
        if line and not line.startswith("#"):
            name, x86_64, aarch64, *_ = line.split("\t")
            numbers = {"x86_64": x86_64, "aarch64": aarch64}
            rows.append((name, {arch: None if text == "-" else int(text) for arch, text in numbers.items()}))
    return rows


def _public() -> dict[str, dict[str, object]]:
    """Everything in capitals that kernel_model.abi's modules define, by module."""
    found: dict[str, dict[str, object]] = {}
    for info in pkgutil.iter_modules(kernel_model.abi.__path__):
        module = importlib.import_module(f"kernel_model.abi.{info.name}")
        capitals = re.compile(r"[A-Z][A-Z0-9_]+")
        found[info.name] = {name: value for name, value in vars(module).items() if capitals.fullmatch(name)}
    return found


@pytest.mark.parametrize("arch", ARCHES)
def test_system_call_numbers(arch: str, tmp_path: Path) -> None:
    lines = []
    for name, numbers in _table():
        number = numbers[arch]
        macro = f"__NR_{name}"
        if number is None:
            lines.append(f"#ifdef {macro}\n#error {name} has a number here\n#endif")
        else:
            lines.append(f'#ifdef {macro}\n_Static_assert({macro} == {number}, "{name}");\n#endif')
    _compile(arch, "#include <asm/unistd.h>\n" + "\n".join(lines), "-c", "-o", str(tmp_path / "o"))


@pytest.mark.parametrize("arch", ARCHES)
def test_the_table_is_complete(arch: str) -> None:
    """No call of the headers is missing, up to the newest that the table knows."""
    known = {name: numbers[arch] for name, numbers in _table() if numbers[arch] is not None}
    newest = max(number for number in known.values() if number is not None)
    theirs = {name[5:] for name in _macros(arch) if name.startswith("__NR_")} - {"syscalls", "arch_specific_syscall"}
    text = "#include <asm/unistd.h>\n" + "".join(f"{name} = __NR_{name}\n" for name in sorted(theirs))
    values = re.findall(r"^(\w+) = (\d+)$", _compile(arch, text, "-E", "-P"), re.M)
    assert len(values) > 300
    assert {name for name, value in values if int(value) <= newest} - NOT_FOR_PROGRAMS <= set(known)


@pytest.mark.parametrize("arch", ARCHES)
def test_constants(arch: str, tmp_path: Path) -> None:
    macros = _macros(arch)
    borders = {"aarch64": aarch64, "x86_64": x86_64}
    lines, unknown = [HEADERS], []
    for module, names in _public().items():
        for name, value in names.items():
            if not isinstance(value, int) or name in OTHERS:
                continue
            if name in TRANSLATED:
                value = borders[arch].open_flags_to_user(value)
                assert borders[arch].open_flags_from_user(value) == names[name]
            if name in macros:
                same = f"(unsigned long long)({name}) == {value & (1 << 64) - 1}ULL"
                narrow = f"(unsigned)({name}) == {value & (1 << 32) - 1}U"
                lines.append(f'_Static_assert({same} || {narrow}, "{module}.{name}");')
            else:
                unknown.append(f"{module}.{name}")
    _compile(arch, "\n".join(lines), "-c", "-o", str(tmp_path / "o"))
    # most are known to the headers; the rest are the kernel's inner ones
    assert len(lines) > 5 * len(unknown), unknown


@pytest.mark.parametrize("arch", ARCHES)
def test_sizes_of_structures(arch: str, tmp_path: Path) -> None:
    lines = [HEADERS]
    for module, names in _public().items():
        for name, value in names.items():
            if isinstance(value, Struct) and name in STRUCTURES:
                lines.append(f'_Static_assert(sizeof({STRUCTURES[name]}) == {value.size}, "{module}.{name}");')
    stat_bytes = {"aarch64": aarch64.STAT.size, "x86_64": x86_64.STAT.size}[arch]
    lines.append(f'_Static_assert(sizeof(struct stat) == {stat_bytes}, "arch.STAT");')
    assert len(lines) > 3
    _compile(arch, "\n".join(lines), "-c", "-o", str(tmp_path / "o"))
