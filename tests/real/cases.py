"""Cases of third-party programs: the lists, the folder each starts in, and what is compared."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import re
import shlex
import shutil
import stat
import tarfile
import zipfile
from base64 import encodebytes
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.harness import HOST_ARCH, ROOT, Outcome, emulator, qemu, run

HERE = Path(__file__).resolve().parent
REAL = ROOT / "build" / "real"
ARCHES = ("aarch64", "x86_64")
ABIS = ("bare", "bounce")
VARIANTS = {
    "userspace": ("--vdso", "userspace"),
    "userspace+legacy+perthread": ("--vdso", "userspace", "--bounce-set", "legacy", "--vdso-data", "perthread"),
    "libkernel+percpu": ("--vdso", "libkernel", "--vdso-data", "percpu"),
}
"""Ways to bounce, and data pages, with which some of the programs run as well."""
WHEN = 1700000000

TEXTS = {
    "a.txt": "pear\napple\nfig\napple\nbanana\ncherry\nfig\nelder\ndate\ngrape\n",
    "nums.txt": "".join(f"{(i * 7919) % 1000} {i} row{i}\n" for i in range(200)),
    "table.csv": "id,name,qty\n1,bolt,40\n2,nut,25\n3,washer,310\n",
    "stdin.txt": "one two three\nfour five\nsix\n",
    "sub/dir/b.txt": "needle in here\nnothing\n",
    "sub/c.txt": "plain\nneedle again\n",
    "heredoc.sh": "cat <<EOF | sed s/a/A/\nalpha $((1+2)) $(echo sub)\nbeta\nEOF\n",
    "script.sh": 'echo "script $1 $#"\nexit 7\n',
    "code.py": "import os\nimport sys\n\n\ndef f(x):\n    y = 1\n    return x+1\n\n\nprint(f(2))\n",
}
SORTED = "apple\napple\nbanana\ncherry\nfig\nfig\npear\n"
MORE_TEXTS = {
    "sorted.txt": SORTED,
    "sorted2.txt": "apple\nbanana\ndate\nfig\n",
    "sum.bc": "2^64\nscale=5\n10/3\nfor (i=0; i<3; i++) i*i\nquit\n",
    "change.diff": "--- a.txt\n+++ a.txt\n@@ -1,3 +1,3 @@\n pear\n-apple\n+orange\n fig\n",
    "keys.ed": "2s/apple/ananas/\n$a\nend\n.\nw\nq\n",
    # What a terminal answers when vi asks for its size, then: go to line 3, delete it, put it after the
    # last line, join lines 1 and 2, change case, substitute, write and quit. No escape: vi would wait for
    # the rest of a key sequence.
    "keys.vi": "\x1b[24;80R3GddGp1GJ~~:%s/an/AN/g\n:wq\n",
    "keys.wq": "\x1b[24;80R:wq\n",
}


@dataclass(frozen=True)
class Case:
    """One line of a list."""

    name: str
    tag: str
    program: str
    args: tuple[str, ...]
    stdin: str | None = "stdin.txt"


def load(name: str) -> list[Case]:
    """The cases of a list."""
    cases = []
    for line in (HERE / name).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            label, tag, program, args, *stdin = line.split("\t")
            cases.append(Case(label, tag, program, tuple(shlex.split(args)), *stdin))
    return cases


@cache
def missing() -> dict[str, str]:
    """What tests/real/fetch.py could not get, with the reason."""
    path = REAL / "missing.json"
    if not path.exists():
        pytest.exit("third-party programs are not there: run make test-real", returncode=2)
    found: dict[str, str] = json.loads(path.read_text())
    return found


def need(program: str, arch: str) -> Path:
    """The binary of a program; the test is skipped, with the reason, where it could not be fetched."""
    why = missing().get(f"{program} {arch}")
    if why is not None:
        pytest.skip(f"{program} for {arch} could not be fetched: {why}")
    return REAL / "bin" / arch / program


def _archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("sub/c.txt", "sub/dir/b.txt", "a.txt"):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(TEXTS[name]), WHEN
            tar.addfile(member, io.BytesIO(TEXTS[name].encode()))
    return buffer.getvalue()


def _cpio() -> bytes:
    out = b""
    for number, (name, text) in enumerate([("a.txt", TEXTS["a.txt"]), ("TRAILER!!!", "")], 1):
        fields = (number, 0o100644, 0, 0, 1, WHEN, len(text), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08x" % value for value in fields) + name.encode() + b"\0"
        out += b"\0" * (-len(out) % 4) + text.encode()
        out += b"\0" * (-len(out) % 4)
    return out


@cache
def _binary_fixtures() -> dict[str, bytes]:
    blob = b"".join(hashlib.sha256(bytes([i & 255, i >> 8])).digest() for i in range(2048))
    big = "".join(f"line {i} {'needle' if i % 97 == 0 else 'hay'} {i * i}\n" for i in range(20000)).encode()
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("a.txt", (2023, 11, 14, 22, 13, 20)), TEXTS["a.txt"])
    text = TEXTS["nums.txt"].encode()
    return {
        "blob.bin": blob,
        "big.txt": big,
        "sums.md5": f"{hashlib.md5(blob).hexdigest()}  blob.bin\n{'0' * 32}  a.txt\n".encode(),
        "encoded.txt": encodebytes(blob[:3000]),
        "pack.tar": _archive(),
        "pack.cpio": _cpio(),
        "pack.zip": zipped.getvalue(),
        "text.gz": gzip.compress(text, mtime=WHEN),
        "text.bz2": bz2.compress(text),
        "text.xz": lzma.compress(text),
    }


def fresh_work(work: Path, more: bool) -> None:
    """Make the folder a case starts in anew: always the same names, contents and times."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    texts = TEXTS | MORE_TEXTS if more else TEXTS
    binaries = _binary_fixtures()
    for name, content in texts.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(content)
    for name in binaries if more else ("blob.bin", "big.txt"):
        (work / name).write_bytes(binaries[name])
    (work / "link").symlink_to("a.txt")
    if more:
        (work / "empty" / "inner").mkdir(parents=True)
    for path in [*sorted(work.rglob("*"), reverse=True), work]:
        os.utime(path, (WHEN, WHEN), follow_symlinks=False)


def fresh_bin(folder: Path, arch: str) -> None:
    """Make the folder that is the guest's PATH: the fetched programs, and a link for each applet."""
    if folder.exists():
        return
    new = folder.with_name(f".new-{folder.name}")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for program in (REAL / "bin" / arch).iterdir():
        shutil.copy2(program, new / program.name)
    listing = run([need("busybox", HOST_ARCH), "--list"], cwd=new).stdout.decode().split()
    for applet in listing:
        if not (new / applet).exists():
            (new / applet).symlink_to("busybox")
    new.rename(folder)


def tree(work: Path) -> Iterator[str]:
    """What lies in a folder, one line each: kind, permissions, size, times that were not just now, content."""
    for path in sorted(work.rglob("*")):
        info = path.lstat()
        line = f"{path.relative_to(work)} {stat.filemode(info.st_mode)}"
        if stat.S_ISLNK(info.st_mode):
            line += f" -> {path.readlink()}"
        elif stat.S_ISREG(info.st_mode):
            line += f" {info.st_nlink} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
        if info.st_mtime <= WHEN:
            line += f" {info.st_mtime:.0f}"
        yield line


@dataclass(frozen=True)
class Seen:
    """What is compared of a run: machine names made equal, and the folder it left if it may write there."""

    status: int
    stdout: bytes
    left: tuple[str, ...] = ()
    stderr: str = ""

    def __eq__(self, other: object) -> bool:
        """Standard error is for the reader; texts there may name the program's path."""
        return isinstance(other, Seen) and (self.status, self.stdout, self.left) == (
            other.status,
            other.stdout,
            other.left,
        )

    def __hash__(self) -> int:
        return hash((self.status, self.stdout, self.left))

    def __str__(self) -> str:
        left = "".join(f"left: {line}\n" for line in self.left)
        return f"{self.stdout[-4000:]!r}\n{left}[status {self.status}]\n{self.stderr[-2000:]}"


def seen(outcome: Outcome, case: Case, work: Path) -> Seen:
    """Turn an outcome into what is compared."""
    stdout = re.sub(rb"x86_64|aarch64", b"MACH", outcome.stdout)
    if case.tag == "s":
        stdout = b"something" if stdout.strip() else b""
    left = tuple(tree(work)) if case.tag == "w" else ()
    return Seen(outcome.status, stdout, left, outcome.stderr.decode("utf-8", "replace"))


def run_case(case: Case, arch: str, how: str, base: Path, *, more: bool, timeout: float = 90) -> Seen:
    """Run a case in a fresh folder; how: "native", "qemu", or the ABI or variant that it has on our machine."""
    need(case.program, arch)
    work, programs = base / "work", base / f"bin-{arch}"
    fresh_bin(programs, arch)
    fresh_work(work, more)
    prefix: list[str] = []
    if how == "qemu":
        prefix = [str(qemu(arch))]
    elif how != "native":
        options = [*VARIANTS.get(how, ("--abi", how))]
        if case.name == "nproc":  # the judge says how many the host has
            options += ["--cpus", str(len(os.sched_getaffinity(0)))]
        if case.tag == "w":
            options += ["--bind", f"{work}:{work}:rw"]
        if arch != HOST_ARCH and (programs / "busybox").exists():
            # the host's own shell, which popen(3) starts, is of the other architecture
            options += ["--bind", f"{programs / 'busybox'}:/bin/sh"]
        prefix = emulator(*options)
    environment = {
        "PATH": str(programs),
        "HOME": str(work),
        "LANG": "C",
        "TZ": "UTC",
        "USER": "root",
        "PWD": str(work),
    }
    outcome = run(
        [*prefix, programs / case.program, *case.args],
        cwd=work,
        env=environment,
        stdin=work / case.stdin if case.stdin else None,
        timeout=timeout,
    )
    return seen(outcome, case, work)
