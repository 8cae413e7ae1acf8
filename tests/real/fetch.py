"""Fetch the third-party programs that `make test-real` runs, for both architectures, into build/real/.

Static programs come as Debian packages and PyPI wheels, by name; a sysroot for dynamic `ls`, `bash` and
`python3` is unpacked from Debian packages; programs of C and Go are compiled here where there is a compiler.
What is there already is left alone. What could not be got is said, with the reason, and the tests of it are
skipped with that reason; the status is 0 all the same, as a machine without Debian's apt can still run the rest.

apt works on lists of its own below build/real/, so the machine's configuration is neither needed for the
second architecture nor changed.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
REAL = ROOT / "build" / "real"
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}
COMPILER = {"x86_64": ("x86_64-linux-gnu-gcc", "gcc"), "aarch64": ("aarch64-linux-gnu-gcc", "gcc")}
RUFF, RIPGREP = "0.17.5", "14.1.0"
PYTHON = "3.11"  # of Debian 12
GO = "1.19"
# Dynamic programs with the libraries that they need: coreutils, grep, bash, Python.
SYSROOT = (
    "coreutils", "libc6", "libselinux1", "libpcre2-8-0", "libacl1", "libattr1", "libgmp10",
    "grep", "bash", "libtinfo6",
    f"python{PYTHON}-minimal", f"libpython{PYTHON}-minimal", f"libpython{PYTHON}-stdlib", "zlib1g", "libexpat1",
    "libffi8", "libssl3", "libuuid1",
)  # fmt: skip


class Missing(Exception):
    """Something could not be got; the text says why."""


def _call(command: list[str | Path], cwd: Path) -> str:
    try:
        done = subprocess.run(
            [str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=600, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(str(error)) from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no word"]
        raise Missing(f"{command[0]}: {lines[-1]}")
    return done.stdout


@cache
def _apt_options() -> tuple[str, ...]:
    """Options that give apt both architectures and folders of our own; its lists are fetched once."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise Missing("no apt-get on this machine")
    apt = REAL / "apt"
    (apt / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (apt / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    options = (
        "-o", f"Dir::State::lists={apt / 'lists'}",
        "-o", f"Dir::Cache={apt / 'cache'}",
        "-o", "Dir::State::status=/var/lib/dpkg/status",
        "-o", "APT::Sandbox::User=root",
        "-o", "APT::Architectures::=amd64",
        "-o", "APT::Architectures::=arm64",
    )  # fmt: skip
    _call(["apt-get", *options, "-q", "update"], apt)
    return options


def _deb(package: str, arch: str, into: Path) -> None:
    """Unpack a Debian package of an architecture into a folder."""
    folder = REAL / "dl" / arch / package
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.glob("*.deb")):
        _call(["apt-get", *_apt_options(), "-q", "download", f"{package}:{DEBIAN[arch]}"], folder)
    into.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.deb"):
        _call(["dpkg-deb", "-x", file, into], folder)


def _wheel(name: str, version: str, arch: str) -> Path:
    """Unpack a musllinux wheel from PyPI; gives the folder."""
    folder = REAL / "dl" / arch / name
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.glob("*.whl")):
        platforms: list[str | Path] = []
        for tag in ("musllinux_1_2", "musllinux_1_1"):
            platforms += ["--platform", f"{tag}_{arch}"]
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
        _call(
            [sys.executable, "-m", "pip", "download", *options, *platforms, f"{name}=={version}"], folder
        )
    unpacked = folder / "unpacked"
    for file in folder.glob("*.whl"):
        zipfile.ZipFile(file).extractall(unpacked)
    return unpacked


def _place(source: Path, target: Path) -> None:
    """Copy an executable to its place, complete or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".new-{target.name}")
    shutil.copyfile(source.resolve(strict=True), new)
    new.chmod(0o755)
    new.rename(target)


def _first(folder: Path, *patterns: str) -> Path:
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            return path
    raise Missing(f"none of {', '.join(patterns)} in {folder.name}")


def _from_deb(package: str, *patterns: str) -> Callable[[str, Path], None]:
    def get(arch: str, target: Path) -> None:
        unpacked = REAL / "dl" / arch / package / "unpacked"
        _deb(package, arch, unpacked)
        _place(_first(unpacked, *patterns), target)

    return get


def _from_wheel(name: str, version: str, program: str) -> Callable[[str, Path], None]:
    def get(arch: str, target: Path) -> None:
        _place(_first(_wheel(name, version, arch), f"*.data/scripts/{program}"), target)

    return get


def _compiled(arch: str, target: Path) -> None:
    for compiler in COMPILER[arch]:
        if not shutil.which(compiler):
            continue
        if _call([compiler, "-dumpmachine"], REAL).split("-")[0] != arch:
            continue  # `gcc` of a host of the other architecture
        output = REAL / f"glibc_static-{arch}"
        source = Path(__file__).parent / "glibc_static.c"
        _call([compiler, "-O2", "-static", "-o", output, source, "-lm"], REAL)
        _place(output, target)
        return
    raise Missing(f"no compiler for {arch}: {' or '.join(COMPILER[arch])}")


@cache
def _go_root() -> Path:
    """Debian's Go, which compiles for both architectures; the folder it calls GOROOT."""
    host = {"arm64": "aarch64", "amd64": "x86_64"}.get(platform.machine(), platform.machine())
    if host not in DEBIAN:
        raise Missing(f"no Go for a host like {host}")
    unpacked = REAL / "dl" / host / "go"
    for package in (f"golang-{GO}-go", f"golang-{GO}-src"):
        _deb(package, host, unpacked)
    return unpacked / "usr" / "lib" / f"go-{GO}"


def _from_go(name: str) -> Callable[[str, Path], None]:
    def get(arch: str, target: Path) -> None:
        root = _go_root()
        settings = {
            "GOROOT": root, "GOCACHE": REAL / "go-cache", "GOPATH": REAL / "go-path", "GOARCH": DEBIAN[arch],
            "GOOS": "linux", "CGO_ENABLED": "0", "GO111MODULE": "off",
        }  # fmt: skip
        output = REAL / f"{name}-{arch}"
        words = [f"{key}={value}" for key, value in settings.items()]
        source = Path(__file__).parent / "go" / f"{name}.go"
        _call(["env", *words, root / "bin" / "go", "build", "-trimpath", "-o", output, source], REAL)
        _place(output, target)

    return get


PROGRAMS: dict[str, Callable[[str, Path], None]] = {
    "busybox": _from_deb("busybox-static", "bin/busybox", "usr/bin/busybox"),
    "bash-static": _from_deb("bash-static", "bin/bash-static", "usr/bin/bash-static"),
    "tini-static": _from_deb("tini", "usr/bin/tini-static"),
    "rg": _from_wheel("ripgrep", RIPGREP, "rg"),
    "ruff": _from_wheel("ruff", RUFF, "ruff"),
    "glibc_static": _compiled,
    "go_clock": _from_go("clock"),
    "go_work": _from_go("work"),
}


def _sysroot(arch: str) -> None:
    """A root with dynamic programs and the libraries that they need, merged-/usr or not."""
    root, complete = REAL / "sysroot" / arch, REAL / "sysroot" / f"{arch}.complete"
    if complete.exists() and complete.read_text().split() == list(SYSROOT):
        return
    shutil.rmtree(root, ignore_errors=True)
    for package in SYSROOT:
        _deb(package, arch, root)
    for name in ("bin", "lib", "lib64"):
        if not (root / name).exists() and (root / "usr" / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    # what the packages' scripts would have made
    for link, target in ((root / "bin" / "sh", "bash"), (root / "usr" / "bin" / "python3", f"python{PYTHON}")):
        if not link.exists():
            link.symlink_to(target)
    complete.write_text("\n".join(SYSROOT) + "\n")


def main() -> int:
    """Get everything that can be got, and say what not."""
    REAL.mkdir(parents=True, exist_ok=True)
    missing: dict[str, str] = {}
    for arch in DEBIAN:
        for program, get in PROGRAMS.items():
            target = REAL / "bin" / arch / program
            try:
                if not target.exists():
                    get(arch, target)
            except Missing as reason:
                missing[f"{program} {arch}"] = str(reason)
        try:
            _sysroot(arch)
        except Missing as reason:
            missing[f"sysroot {arch}"] = str(reason)
    (REAL / "missing.json").write_text(json.dumps(missing, indent=1) + "\n")
    for name, why in missing.items():
        print(f"could not get {name}: {why}")
    total = len(DEBIAN) * (len(PROGRAMS) + 1)
    print(f"third-party programs: {total - len(missing)} of {total} in {REAL.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
