"""libgcc and LLVM's libunwind find the way from every instruction of every handler to main.

`unwind.c` is built with each unwinder and run natively or under qemu-user with the built image in memory, and on our
machine with the vDSO that the kernel mapped.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from guests.build import cache_dir, compile_to
from tests.harness import HOST_ARCH, emulator, qemu
from tests.vdso.handlers import GETPID, Stop, stops
from tests.vdso.variants import built_image, edited
from vdso_image import cfi
from vdso_image.build import BUILT
from vdso_image.image import ARCHITECTURES, load

SOURCE = Path(__file__).parent / "unwind.c"
CURSOR = SOURCE.with_name("cursor.h")
FLAGS = ("-O1", "-static", "-g0", "-std=gnu17")
VERDICT = {"unwound": "unwound", "result": "unwound, with the result", "none": "the chain ends at the handler"}
HANDLER_RULES = r"\.cfi cfa=\*\(sp\+8\).*"


@dataclass(frozen=True)
class Unwinder:
    """An unwinder for one architecture, and the program that is linked with it."""

    name: str
    arch: str

    def program(self) -> Path:
        """Built unless it is there; skips where there is no compiler."""
        key = hashlib.sha256(SOURCE.read_bytes() + CURSOR.read_bytes() + repr((self, FLAGS)).encode()).hexdigest()[:20]
        path = cache_dir() / self.arch / "vdso" / f"unwind-{self.name}-{key}"
        if path.exists():
            return path
        if self.name == "llvm":
            tables = ("-fno-sanitize=all", "-fasynchronous-unwind-tables")
            compile_to(SOURCE, f"{self.arch}-linux-musl", (*FLAGS, *tables, "-DLLVM", "-lunwind"), path)
            return path
        native = self.arch == platform.machine() and shutil.which("gcc")
        compiler = native or shutil.which(f"{self.arch.replace('_', '-')}-linux-gnu-gcc")
        if not compiler:
            pytest.skip(f"no gcc for {self.arch}")
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        how = [flag for flag in FLAGS if flag != "-static"] + ["-DKNOWN_TO_LIBC=1"] if "dynamic" in self.name else FLAGS
        subprocess.run([compiler, *how, "-o", new, SOURCE], check=True)
        new.replace(path)
        return path

    def on_the_host(self) -> list[str]:
        """The command that runs the program here; skips where nothing can."""
        if self.arch == HOST_ARCH:
            return [str(self.program())]
        if not qemu(self.arch):
            pytest.skip(f"nothing here runs {self.arch} programs")
        return [str(qemu(self.arch)), str(self.program())]

    def on_our_machine(self) -> list[str]:
        """The command that runs it there."""
        program = self.program()
        options = ["--abi", "bare"]
        if "dynamic" in self.name and self.arch != HOST_ARCH:
            root = f"/usr/{self.arch}-linux-gnu"
            options += ["--root", root, "--bind", f"{program.parent}:/program"]
            return [*emulator(*options), f"/program/{program.name}"]
        return [*emulator(*options), str(program)]


UNWINDERS = [Unwinder(name, arch) for arch in ARCHITECTURES for name in ("libgcc", "llvm")]
each_unwinder = pytest.mark.parametrize("unwinder", UNWINDERS, ids=lambda u: f"{u.name}-{u.arch}")


def verdicts(command: list[str], arch: str, image: str, wanted: list[Stop]) -> tuple[dict[Stop, str], int]:
    """What the program says of each place, and its status."""
    cases = {f"{s.entry:x}:{s.pc:x}:{s.frame}:{GETPID[arch]:x}": s for s in wanted}
    done = subprocess.run([*command, image, *cases], capture_output=True, text=True, timeout=60)
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.split(" ", 1)[0] in cases)
    return {cases[case]: verdict for case, verdict in lines.items()}, done.returncode


@each_unwinder
def test_from_every_instruction_on_the_host(unwinder: Unwinder) -> None:
    wanted = stops(load(unwinder.arch))
    command = unwinder.on_the_host()
    seen, status = verdicts(command, unwinder.arch, str(BUILT / f"{unwinder.arch}.so"), wanted)
    assert (seen, status) == ({stop: VERDICT[stop.rules] for stop in wanted}, 0)


@pytest.mark.parametrize(
    "unwinder",
    [*UNWINDERS, *(Unwinder("libgcc-dynamic", arch) for arch in ARCHITECTURES)],
    ids=lambda u: f"{u.name}-{u.arch}",
)
def test_from_every_instruction_on_our_machine(unwinder: Unwinder) -> None:
    wanted = stops(load(unwinder.arch))
    seen, status = verdicts(unwinder.on_our_machine(), unwinder.arch, "-", wanted)
    assert (seen, status) == ({stop: VERDICT[stop.rules] for stop in wanted}, 0)


# -- what does not work, and why the rules are as they are (docs/vdso.md) ----------------------------------------------
def verdict_of(unwinder: Unwinder, scratch: Path, rules: str) -> str:
    """What an unwinder makes of other rules for the handler, at its svc."""
    built = edited(unwinder.arch, scratch, "bounce.S", HANDLER_RULES, f".cfi {rules}")
    file = scratch / "image.so"
    file.write_bytes(built.elf)
    stop = stops(built_image(unwinder.arch, built))[1]
    assert stop.text.startswith("svc")
    seen, status = verdicts(unwinder.on_the_host(), unwinder.arch, str(file), [stop])
    return seen.get(stop, f"ended with {status}")


LIBGCC, LLVM = (Unwinder(name, "aarch64") for name in ("libgcc", "llvm"))


def test_the_link_register_is_not_the_return_address(tmp_path: Path) -> None:
    """As on the slide: x30, the caller's live link register, is lost, and a leaf has no caller."""
    rules = "cfa=sp+0 x8=*(sp) sp=*(sp+8) x30=*(sp+16)"
    assert verdict_of(LIBGCC, tmp_path, rules) == "the caller's caller is wrong"


@pytest.mark.parametrize(
    ("column", "unwinder", "verdict"),
    [
        (32, LIBGCC, "ended with "),
        (33, LIBGCC, "ended with "),
        (64, LIBGCC, "ended with "),
        (95, LIBGCC, "ended with "),
        (96, LIBGCC, "unwound"),
        (96, LLVM, "the chain ends at the handler"),
        (17, LIBGCC, "unwound"),
        (17, LLVM, "unwound"),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_columns_for_the_return_address(
    column: int, unwinder: Unwinder, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cfi.COLUMNS["aarch64"], "return", column)
    monkeypatch.setitem(cfi.HANDLER_RETURN_COLUMN, "aarch64", column)
    assert verdict_of(unwinder, tmp_path, "cfa=*(sp+8) x8=*(sp) return=*(sp+16)").startswith(verdict)


def test_it_is_not_a_signal_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """'S' says that the saved PC is at the instruction; it is after it, here in the next function."""
    monkeypatch.setattr(cfi, "AUGMENTATION", b"zRS")
    rules = "cfa=*(sp+8) x8=*(sp) x17=*(sp+16) pc=*(sp+16)"
    assert verdict_of(LLVM, tmp_path, rules) == "the caller is wrong"


def test_llvm_refuses_a_rule_for_rflags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cfi.COLUMNS["x86_64"], "rflags", 49)
    unwinder = Unwinder("llvm", "x86_64")
    built = edited("x86_64", tmp_path, "bounce.S", r"rax=\*\(rsp\)", "rax=*(rsp) rflags=*(rsp+24)")
    file = tmp_path / "image.so"
    file.write_bytes(built.elf)
    wanted = stops(built_image("x86_64", built))[:1]
    seen, _ = verdicts(unwinder.on_the_host(), "x86_64", str(file), wanted)
    assert list(seen.values()) == ["the chain ends at the handler"]
