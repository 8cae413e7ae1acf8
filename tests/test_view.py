"""What a guest sees of the host's files, and that it can neither change them nor get out of its root."""

from __future__ import annotations

from pathlib import Path

import pytest

from guests.build import ARCHES, Guest, binary_path, discover
from tests.harness import emulator, run

pytestmark = pytest.mark.usefixtures("guests_built")


def _probe(arch: str) -> Guest:
    return next(guest for guest in discover() if guest.id == "view/probe" and guest.arch == arch)


def look(options: list[str], operations: str, cwd: Path, arch: str = "aarch64", program: str = "") -> list[str]:
    """Run the probe under some options; gives a line per operation."""
    command = [*emulator(*options), program or str(binary_path(_probe(arch))), *operations.split()]
    seen = run(command, cwd=cwd)
    assert seen.status == 0, seen
    lines = seen.stdout.decode().splitlines()
    assert lines.pop() == "ok"
    return lines


@pytest.fixture
def sysroot(tmp_path: Path) -> Path:
    """A root with the probe in it, ways out that must not lead out, and a secret beside it."""
    root = tmp_path / "root"
    for name in ("bin", "etc", "tmp", "dir/deep"):
        (root / name).mkdir(parents=True)
    (root / "bin" / "probe").write_bytes(binary_path(_probe("aarch64")).read_bytes())
    (root / "bin" / "probe").chmod(0o755)
    (root / "etc" / "name").write_text("inside\n")
    (tmp_path / "secret").write_text("outside\n")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "name").write_text("outside\n")
    (root / "up").symlink_to("../secret")
    (root / "far-up").symlink_to("../../../../../../../../../../../.." + str(tmp_path / "secret"))
    (root / "absolute").symlink_to(tmp_path / "secret")
    (root / "host-etc").symlink_to("/etc")
    (root / "dir" / "loop").symlink_to("../dir/loop")
    return root


@pytest.mark.parametrize("arch", ARCHES)
def test_writes_stay_in_the_machine(tmp_path: Path, arch: str) -> None:
    (tmp_path / "kept").write_text("host\n")
    (tmp_path / "removed").write_text("host\n")
    operations = "read kept write kept guest read kept remove removed read removed write new guest list ."
    assert look([], operations, tmp_path, arch) == [
        'read kept: "host"',
        "write kept: done",
        'read kept: "guest"',
        "remove removed: done",
        "read removed: ENOENT",
        "write new: done",
        "list .: kept new .",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "removed"]
    assert (tmp_path / "kept").read_text() == "host\n"


def test_renames_over_the_host_stay_in_the_machine(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("A\n")
    (tmp_path / "b").write_text("B\n")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "inner").write_text("I\n")
    seen = look([], "rename a b read b read a rename d e read e/inner append e/inner X read d/inner list .", tmp_path)
    assert seen == [
        "rename a: done",
        'read b: "A"',
        "read a: ENOENT",
        "rename d: done",
        'read inner: "I"',
        "append inner: done",
        "read inner: ENOENT",
        "list .: b e .",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "d"]
    assert (tmp_path / "d" / "inner").read_text() == "I\n"


def test_root_is_the_sysroot(sysroot: Path) -> None:
    options = ["--root", str(sysroot), "--cwd", "/"]
    seen = look(options, "read /etc/name read host-etc/name", sysroot, program="/bin/probe")
    assert seen == ['read name: "inside"', 'read name: "inside"']


@pytest.mark.parametrize(
    "way",
    [
        "/../secret",
        "../secret",
        "../../../../secret",
        "/up",
        "/far-up",
        "/absolute",
        "/dir/../../secret",
        "/dir/deep/../../../secret",
        "/proc/self/root/../secret",
        "/proc/self/cwd/../secret",
        "/proc/self/exe/../../secret",
        "/proc/1/root/secret",
        "/tmp/../../secret",
        "/dev/../../secret",
    ],
)
def test_no_way_leads_out_of_the_root(way: str, sysroot: Path) -> None:
    lines = look(["--root", str(sysroot), "--cwd", "/"], f"read {way}", sysroot, program="/bin/probe")
    assert len(lines) == 1
    assert "outside" not in lines[0]
    assert lines[0].endswith((": ENOENT", ": ENOTDIR", ": EACCES"))


def test_links_made_by_the_guest_stay_inside(sysroot: Path) -> None:
    secret = sysroot.parent / "secret"
    operations = (
        f"link {secret} /one read /one link ../../../..{secret} /dir/two read /dir/two "
        f"link / /dir/three read /dir/three/etc/name link /proc/self/root/.. /four list /four "
        "open-then-up /dir/deep"
    )
    lines = look(["--root", str(sysroot), "--cwd", "/"], operations, sysroot, program="/bin/probe")
    assert lines[1] == "read one: ENOENT"
    assert lines[3] == "read two: ENOENT"
    assert lines[5] == 'read name: "inside"'
    for listing in (lines[7], lines[8]):
        assert "secret" not in listing
        assert " bin " in listing


def test_a_chroot_in_the_root_holds(sysroot: Path) -> None:
    operations = "chroot /dir chdir / read /etc/name read ../etc/name read ../../secret list /"
    lines = look(["--root", str(sysroot), "--cwd", "/"], operations, sysroot, program="/bin/probe")
    assert lines[2:5] == ["read name: ENOENT", "read name: ENOENT", "read secret: ENOENT"]
    assert lines[5] == "list : deep loop ."


def test_a_directory_moved_away_is_no_way_out(sysroot: Path) -> None:
    """man 7 path_resolution: `..` is looked up from where the directory is when it is looked up."""
    operations = "chroot /dir chdir / chdir deep rename /deep /moved list .. read ../../etc/name"
    lines = look(["--root", str(sysroot), "--cwd", "/"], operations, sysroot, program="/bin/probe")
    assert lines[4] == "list ..: loop moved ."
    assert lines[5] == "read name: ENOENT"


def test_bind_read_only_and_read_write(tmp_path: Path, sysroot: Path) -> None:
    shared, looked_at = tmp_path / "shared", tmp_path / "looked-at"
    for folder in (shared, looked_at):
        folder.mkdir()
        (folder / "file").write_text("host\n")
    (shared / "out").symlink_to("../secret")
    options = ["--root", str(sysroot), "--bind", f"{shared}:/rw:rw", "--bind", f"{looked_at}:/ro:ro", "--cwd", "/"]
    operations = (
        "read /rw/file write /rw/file guest write /rw/new guest read /ro/file write /ro/file guest "
        "write /ro/new guest remove /ro/file read /rw/out read /rw/../secret rename /rw/new /rw/newer mkdir /rw/made"
    )
    assert look(options, operations, tmp_path, program="/bin/probe") == [
        'read file: "host"',
        "write file: done",
        "write new: done",
        'read file: "host"',
        "write file: EROFS",
        "write new: EROFS",
        "remove file: EROFS",
        "read out: ENOENT",
        "read secret: ENOENT",
        "rename new: done",
        "mkdir made: done",
    ]
    assert (shared / "file").read_text() == "guest"
    assert (shared / "newer").read_text() == "guest"
    assert (shared / "made").is_dir()
    assert [path.name for path in looked_at.iterdir()] == ["file"]
    assert (looked_at / "file").read_text() == "host\n"


def test_isolate_shows_only_the_program(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("host\n")
    operations = f"read {tmp_path}/file read /etc/passwd write /tmp/x y read /tmp/x"
    lines = look(["--isolate", "--cwd", "/"], operations, tmp_path)
    assert lines[:2] == ["read file: ENOENT", "read passwd: ENOENT"]
    assert lines[2:] == ["write x: done", 'read x: "y"']
