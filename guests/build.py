"""Build the guests for both architectures and keep the results by content.

A guest is ``src/<area>/<name>[.<arch>].{c,S}``; without an architecture in its name it is built for each. The
compiler is zig's (``python -m ziglang cc``), so every machine with the wheel builds the same static musl
programs. A binary's file name holds the hash of all that goes into it: source, shared header, flags, compiler
version. So nothing is ever rebuilt in vain or used when stale, and runs at the same time do no harm.

Run as a script it builds everything, or the guests named, and prints where each lies; with --demo it renews
the guests of `make demo`, and with --library the library of Hack #1 that runs inject: both are kept in git, so
that neither needs a compiler.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "src"
LIBRARY = HERE / "hack1"
ARCHES = ("aarch64", "x86_64")
FLAGS = ("-static", "-O2", "-g0", "-s", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-fno-sanitize=all")


@dataclass(frozen=True)
class Guest:
    """One guest program for one architecture."""

    area: str
    name: str
    arch: str
    source: Path
    flags: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    native: bool = True
    #: the entry paths (--abi) under which it makes sense: the directive guest-abis
    abis: tuple[str, ...] = ("bare", "bounce")
    #: the library that it is linked with in place of the C library: libkernel, or none
    library: str = ""
    #: built for one architecture only
    single: bool = field(default=False, compare=False)

    @property
    def id(self) -> str:
        """The name that tests and lists use: area/name."""
        return f"{self.area}/{self.name}"

    @property
    def target(self) -> str:
        """The compiler's name of the architecture."""
        return f"{self.arch}-linux-musl"


def _directives(source: Path) -> dict[str, str]:
    found = re.findall(
        r"guest-(flags|args|env|options|native|abis|library):[ \t]*(.*?)[ \t]*(?:\*/)?$", source.read_text(), re.M
    )
    return dict(found)


def _guest(source: Path, arch: str, name: str, single: bool) -> Guest:
    says = _directives(source)
    return Guest(
        area=source.parent.name,
        name=name,
        arch=arch,
        source=source,
        flags=tuple(shlex.split(says.get("flags", ""))),
        args=tuple(shlex.split(says.get("args", ""))),
        env=tuple(shlex.split(says.get("env", ""))),
        options=tuple(shlex.split(says.get("options", ""))),
        native=says.get("native", "yes") != "no",
        abis=tuple(shlex.split(says.get("abis", "bare bounce"))),
        library=says.get("library", ""),
        single=single,
    )


@cache
def discover() -> tuple[Guest, ...]:
    """All guests there are, sorted by area, name and architecture."""
    guests = []
    for source in sorted(SOURCES.glob("*/*.[cS]")):
        name, _, arch = source.stem.partition(".")
        if arch and arch not in ARCHES:
            raise ValueError(f"{source}: no architecture called {arch}")
        guests += [_guest(source, one, name, bool(arch)) for one in ((arch,) if arch else ARCHES)]
    return tuple(guests)


def cache_dir() -> Path:
    """Where binaries are kept: $UABI_GUEST_CACHE, or build/guests beside the sources."""
    return Path(os.environ.get("UABI_GUEST_CACHE") or HERE.parent / "build" / "guests")


@cache
def _common() -> bytes:
    """What goes into every guest."""
    version = importlib.metadata.version("ziglang")
    return "\0".join((version, *FLAGS, (SOURCES / "guest.h").read_text())).encode()


def binary_path(guest: Guest) -> Path:
    """Where the binary of this very source, built with these very flags, lies or will lie."""
    key = "\0".join((guest.target, *guest.flags)).encode()
    headers = b"".join(header.read_bytes() for header in sorted(guest.source.parent.glob("*.h")))
    source = guest.source.read_bytes()
    for other in re.findall(rb'^#include "(\.\./[^"]+\.h)"', source, re.MULTILINE):
        headers += (guest.source.parent / other.decode()).read_bytes()
    if b"hack1/hack1.c" in source:
        headers += b"".join(path.read_bytes() for path in sorted(LIBRARY.glob("*.[ch]")))
    if guest.library:
        headers += _libkernel_sources()
    digest = hashlib.sha256(_common() + key + source + headers).hexdigest()[:20]
    return cache_dir() / guest.arch / guest.area / f"{guest.name}-{digest}"


def _zig(source: Path, target: str, *command: str) -> None:
    """Run one of zig's tools on a source; RuntimeError with what it says."""
    # the compiler keeps its own libraries there; one place for all guests and test workers
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(cache_dir() / "zig")}
    environment["ZIG_LOCAL_CACHE_DIR"] = environment["ZIG_GLOBAL_CACHE_DIR"]
    whole = [sys.executable, "-m", "ziglang", *command]
    run = subprocess.run(whole, capture_output=True, text=True, env=environment, check=False)
    if run.returncode:
        raise RuntimeError(f"{source}, {target}: the compiler says\n{run.stderr}")


def compile_to(source: Path, target: str, flags: Iterable[str], output: Path) -> None:
    """Compile one source into an executable that appears at `output` complete or not at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".new-") as scratch:
        new = Path(scratch) / "out"
        _zig(source, target, "cc", "-target", target, *flags, "-I", str(SOURCES), "-o", str(new), str(source))
        new.replace(output)


def build(guest: Guest) -> Path:
    """The guest's binary, built now unless it is there already."""
    path = binary_path(guest)
    if not path.exists():
        if guest.library:
            compile_with_libkernel(guest.source, guest.arch, guest.flags, path)
        else:
            compile_to(guest.source, guest.target, (*FLAGS, *guest.flags), path)
    return path


LIBKERNEL = HERE / "libkernel"
LIBKERNEL_FLAGS = (
    "-O2", "-g0", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-fno-sanitize=all", "-ffreestanding", "-fno-builtin",
    "-fno-stack-protector", "-fno-asynchronous-unwind-tables",
)  # fmt: skip


@cache
def _libkernel_sources() -> bytes:
    """What goes into a program that is linked with the library."""
    files = [*LIBKERNEL.glob("src/*"), *LIBKERNEL.glob("include/uabi/*")]
    return b"".join(path.name.encode() + path.read_bytes() for path in sorted(files))


def _compile_for_libkernel(source: Path, target: str, flags: Iterable[str], output: str) -> None:
    includes = ("-I", str(LIBKERNEL / "include"), "-I", str(SOURCES))
    _zig(source, target, "cc", "-target", target, *flags, "-c", *includes, "-o", output, str(source))


def compile_with_libkernel(source: Path, arch: str, flags: Iterable[str], output: Path) -> None:
    """Compile one source into an executable with the library of the vDSO's functions, and no C library."""
    target = f"{arch}-linux-musl"
    library = build_libkernel(arch)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".new-") as scratch:
        compiled, new = f"{scratch}/object.o", Path(scratch) / "out"
        # compiled by itself: linking without a C library would take its headers away too
        _compile_for_libkernel(source, target, (*FLAGS[1:], "-fno-stack-protector", *flags), compiled)
        _zig(source, target, "ld.lld", "-static", "-s", "-o", str(new), compiled, str(library))
        new.replace(output)


def build_libkernel(arch: str) -> Path:
    """The library of the vDSO's functions, libuabi.a, built unless it is there already."""
    version = importlib.metadata.version("ziglang")
    key = "\0".join((version, arch, *LIBKERNEL_FLAGS)).encode()
    path = cache_dir() / arch / f"libuabi-{hashlib.sha256(key + _libkernel_sources()).hexdigest()[:20]}.a"
    if path.exists():
        return path
    target = f"{arch}-linux-musl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as scratch:
        objects = []
        for source in sorted(LIBKERNEL.glob("src/*.[cS]")):
            objects.append(f"{scratch}/{source.name}.o")
            _compile_for_libkernel(source, target, LIBKERNEL_FLAGS, objects[-1])
        new = Path(scratch) / "libuabi.a"
        _zig(new, target, "ar", "rcs", str(new), *objects)
        new.replace(path)
    return path


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """Held by one process at a time, so that test workers don't all build the same things."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build_all(guests: Iterable[Guest], jobs: int | None = None) -> dict[Guest, Path]:
    """Build many guests side by side."""
    guests = list(guests)
    missing = [guest for guest in guests if not binary_path(guest).exists()]
    if missing:
        with _lock(), ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
            # one of each architecture first: it brings the C library into the compiler's cache
            first = {guest.arch: guest for guest in missing}
            list(pool.map(build, first.values()))
            list(pool.map(build, missing))
    return {guest: binary_path(guest) for guest in guests}


DEMO = HERE / "demo"
# what `make demo` runs, and what is stepped through: with symbols and frames, without a C library
_READABLE_FLAGS = (
    "-static", "-nostdlib", "-O1", "-g0", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-fno-sanitize=all",
    "-fno-omit-frame-pointer", "-mno-omit-leaf-frame-pointer", "-fasynchronous-unwind-tables",
)  # fmt: skip
DEMO_FLAGS = {
    "demo": FLAGS, "percpu": FLAGS, "getppid": _READABLE_FLAGS, "served": _READABLE_FLAGS, "newstyle": _READABLE_FLAGS,
}  # fmt: skip


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build_demo(into: Path) -> dict[str, str]:
    """Build the demo's guests as <arch>/<name> below a folder; gives what the manifest must say of them."""
    manifest = {"ziglang": importlib.metadata.version("ziglang")}
    for name, flags in DEMO_FLAGS.items():
        source = DEMO / f"{name}.c"
        manifest |= {f"{name} flags": " ".join(flags), source.name: _sha256(source)}
        for arch in ARCHES:
            output = into / arch / name
            compile_to(source, f"{arch}-linux-musl", flags, output)
            manifest[f"{arch}/{name}"] = _sha256(output)
    return manifest


INJECTED = HERE.parent / "emu" / "hack1"
# what is put into other programs: no C library, no relocations, and no register that a program's start leaves alone
LIBRARY_FLAGS = (
    "-c", "-Os", "-g0", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-fno-sanitize=all", "-fPIC", "-fno-builtin",
    "-fvisibility=hidden", "-fno-stack-protector", "-fno-jump-tables",
    "-fno-asynchronous-unwind-tables", "-fno-unwind-tables",
)  # fmt: skip
LIBRARY_CPU = {"aarch64": "generic-neon-fp_armv8", "x86_64": "x86_64-sse-sse2-mmx-x87+soft_float"}
LIBRARY_LINK_FLAGS = (
    "-shared", "--no-undefined", "-e", "_start", "-s", "--build-id=none", "--hash-style=sysv", "--no-rosegment",
    "-z", "norelro", "-z", "noexecstack", "-z", "max-page-size=4096",
)  # fmt: skip


def library_sources() -> dict[str, str]:
    """The library's sources, with the hash of each."""
    return {path.name: _sha256(path) for path in sorted(LIBRARY.glob("*.[ch]"))}


def build_library(into: Path) -> dict[str, str]:
    """Build the library of Hack #1 that is injected, as <arch>.so in a folder; gives what the manifest must say."""
    source = LIBRARY / "inject.c"
    manifest = {"ziglang": importlib.metadata.version("ziglang"), **library_sources()}
    for arch in ARCHES:
        target = f"{arch}-linux-musl"
        with tempfile.TemporaryDirectory(prefix="hack1-") as scratch:
            compiled = str(Path(scratch) / "inject.o")
            cpu = f"-mcpu={LIBRARY_CPU[arch]}"
            _zig(source, target, "cc", "-target", target, cpu, *LIBRARY_FLAGS, "-o", compiled, str(source))
            output = into / f"{arch}.so"
            _zig(source, target, "ld.lld", *LIBRARY_LINK_FLAGS, "-o", str(output), compiled)
        output.chmod(0o644)
        manifest[output.name] = _sha256(output)
    return manifest


def main() -> int:
    """Build what the command line names."""
    parser = argparse.ArgumentParser(description="Build the guests and print where they lie.")
    parser.add_argument("names", nargs="*", help="area/name; all when left out")
    parser.add_argument("--arch", choices=ARCHES)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--demo", action="store_true", help="renew the guests in guests/demo")
    parser.add_argument("--library", action="store_true", help="renew the library of Hack #1 in emu/hack1")
    options = parser.parse_args()
    if options.library:
        (INJECTED / "manifest.json").write_text(json.dumps(build_library(INJECTED), indent=1) + "\n")
        return 0
    if options.demo:
        (DEMO / "manifest.json").write_text(json.dumps(build_demo(DEMO), indent=1) + "\n")
        return 0
    chosen = [
        guest
        for guest in discover()
        if (not options.names or guest.id in options.names) and options.arch in (None, guest.arch)
    ]
    try:
        built = build_all(chosen, options.jobs)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    for guest, path in built.items():
        print(f"{guest.arch:8} {guest.id:24} {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
