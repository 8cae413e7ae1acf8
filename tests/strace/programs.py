"""The traced programs: built for both architectures, run natively under strace(1) and on our machine.

Run as a module (`python -m tests.strace.programs`) it records what strace prints, on x86-64.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path

from guests.build import Guest, build
from tests.harness import Outcome, emulator, run

SOURCES = Path(__file__).parent / "programs"
EXPECTED = Path(__file__).parent / "expected"
PROGRAMS = ("events", "files", "process", "seccomp", "signals", "sigsys", "sockets")
RECORDED_WITH = "6.1"
"""The version of strace that printed what is expected; others name a few things differently."""


def binary(name: str, arch: str) -> Path:
    """The program, built if need be."""
    header = zlib.crc32((SOURCES / "trace.h").read_bytes())
    source = SOURCES / f"{name}.c"
    return build(Guest("trace", name, arch, source, flags=("-w", f"-DTRACE_H={header}")))


def native(name: str, cwd: Path) -> str:
    """What strace prints of it here."""
    log = cwd / "strace.log"
    run(["strace", "-o", log, binary(name, "x86_64")], cwd=cwd)
    return log.read_text()


def ours(name: str, arch: str, cwd: Path) -> tuple[Outcome, str]:
    """What our machine prints of it."""
    log = cwd / "trace.log"
    outcome = run([*emulator(f"--strace={log}"), binary(name, arch)], cwd=cwd)
    return outcome, log.read_text()


def strace_version() -> str | None:
    """The version of strace, if it is installed and may trace."""
    if shutil.which("strace") is None or subprocess.run(["strace", "true"], capture_output=True).returncode:
        return None
    text = subprocess.run(["strace", "-V"], capture_output=True, text=True).stdout
    return text.split("\n")[0].rpartition(" ")[2]


def normalised(text: str) -> str:
    """The part between the marks, and what comes after, without addresses and process ids."""
    traced = re.split(r'write\(-1, "(?:begin|end)".*\n', text)
    body = traced[1] + "".join(line + "\n" for line in traced[2].splitlines() if line[:1] in "-+e")
    for pid in re.findall(r"getpid\(\) +=( \d+)$", body, re.M):
        body = re.sub(rf"(?<=[( =]){pid.strip()}(?=[,)\n])", "PID", body)
    # musl asks for its own number before or after the call is prepared, as the compiler likes
    body = re.sub(r"^get[pt]id\(\).*\n", "", body, flags=re.M)
    body = re.sub(r"0x[0-9a-f]{6,16}\b", "ADDRESS", body)
    body = re.sub(r"= 0x[0-9a-f]+ \(flags O_", "= NUMBER (flags O_", body)  # differs between the architectures
    body = re.sub(r"AUDIT_ARCH_(X86_64|AARCH64)", "AUDIT_ARCH", body)
    return re.sub(r" += ", " = ", body)


def main() -> None:
    """Record."""
    if strace_version() != RECORDED_WITH:
        raise SystemExit(f"strace {RECORDED_WITH} is needed")
    EXPECTED.mkdir(exist_ok=True)
    os.umask(0o22)
    for name in PROGRAMS:
        with tempfile.TemporaryDirectory() as folder:
            (EXPECTED / f"{name}.txt").write_text(normalised(native(name, Path(folder))))


if __name__ == "__main__":
    main()
