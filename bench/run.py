"""Run the benchmarks under qemu-user and on our machine, and hold the ratios against their bars.

    python bench/run.py                    everything; the table goes to docs/bench.md and the terminal
    python bench/run.py --arch aarch64 --only getppid,hello --no-write

Rates use CPU time less the CPU time of `hello`, which stays meaningful on a shared machine. Every figure is
the median of several runs that are interleaved between the peers. Nothing here is a test: a bar that is missed
is marked in the table, and the status is 0.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "bench" / "src"
BUILD = ROOT / "build" / "bench"
HOST_ARCH = {"arm64": "aarch64"}.get(platform.machine(), platform.machine())
ARCHES = ("aarch64", "x86_64")
LAUNCH = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from emu.cli.main import main; sys.exit(main())"

# name: (arguments, operations done)
BENCHMARKS: dict[str, tuple[tuple[str, ...], int]] = {
    "hello": ((), 1),
    "getppid": (("200000",), 200_000),
    "datapage": (("20000000",), 20_000_000),
    "compute": (("400",), 1),
    "memory": (("20",), 1),
    "fileio": (("20000", "{tmp}/fileio.dat"), 80_000),
    "forks": (("2000",), 2000),
    "threads": (("1000",), 1000),
    "signals": (("20000",), 20_000),
    "mutex": (("100000",), 100_000),
    "pingpong": (("20000",), 20_000),
    "sh-pipes": (("sh", "-c", "i=0; while [ $i -lt 500 ]; do echo $i | cat >/dev/null; i=$((i+1)); done"), 500),
    "sh-loop": (("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"), 20_000),
    "sigmask": (("100000",), 200_000),
}
# Those that only our machine has what they need for, and the options that they take.
OWN: dict[str, tuple[str, ...]] = {"datapage": ("--vdso-data", "perthread")}
OURS = ("uabi-emu", "bounced")
# Run with calls served in user space as well.
SERVED = ("hello", "getppid", "sh-pipes", "sh-loop", "sigmask")
DATA_PAGE_TIMES = 20
# Those that are no program of ours but a static busybox, which `make test-real` fetches.
BUSYBOX = frozenset(("sh-pipes", "sh-loop"))
TASK_BARS = (("forks", 0.15), ("threads", 1.0), ("mutex", 10), ("sh-pipes", 0.6), ("sh-loop", 4))
"""At most so many times qemu-user's CPU time."""
SIGNAL_CALLS = 8
SIGSYS_ABIS = ("seccomp", "dispatch")
SIGSYS_CALLS = 50_000
SIGSYS_TIMES = 12
PINGPONG_A_SECOND = 40_000
# what is told: benchmark, its arguments, options of trace, what is counted, how many of it a second there shall be
TRACES: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...], str, int], ...] = (
    ("trace", "getppid", ("10000",), (), "bounces", 3000),
    ("trace --instructions", "compute", ("1",), ("--instructions",), "instructions", 200_000),
)
FILTER_EVALUATIONS_A_SECOND = 150_000
HELLO_RUNS = 9
# Measured elsewhere once: what Qiling, another emulator in Python, does.
QILING_GETPPID_A_SECOND = 30_000
QILING_FILEIO_US = 85


@dataclass(frozen=True)
class Run:
    """One metered run."""

    wall_s: float
    cpu_s: float
    rss_kib: int
    good: bool
    said: str


@dataclass
class Figures:
    """All runs of one benchmark under one peer."""

    runs: list[Run] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Each run ended well."""
        return bool(self.runs) and all(run.good for run in self.runs)

    @property
    def cpu_s(self) -> float:
        """The median of the CPU times."""
        return statistics.median(run.cpu_s for run in self.runs)

    @property
    def wall_s(self) -> float:
        """The median of the times on the clock."""
        return statistics.median(run.wall_s for run in self.runs)

    @property
    def rss_mib(self) -> float:
        """The largest peak of memory."""
        return max(run.rss_kib for run in self.runs) / 1024


@dataclass(frozen=True)
class Bar:
    """One line of the table of ratios."""

    what: str
    value: str
    bar: str
    kept: bool


def compiler(arch: str) -> list[str]:
    """A C compiler for an architecture: the distribution's, else zig's."""
    for name in (f"{arch.replace('_', '-')}-linux-gnu-gcc", f"{arch}-linux-gnu-gcc"):
        if shutil.which(name):
            return [name, "-pthread"]
    if arch == HOST_ARCH and shutil.which("gcc"):
        return ["gcc", "-pthread"]
    return [sys.executable, "-m", "ziglang", "cc", "-target", f"{arch}-linux-musl", "-fno-sanitize=all"]


def compile_c(source: Path, arch: str, output: Path) -> Path:
    """Build a static program, unless it is newer than its source."""
    if output.exists() and output.stat().st_mtime > source.stat().st_mtime:
        return output
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [*compiler(arch), "-O2", "-g0", "-Wall", "-Wextra", "-static", "-o", str(output), str(source)]
    subprocess.run(command, check=True)
    return output


def emulator(command: str = "run") -> list[str]:
    """Our command as a person types it, or its text where the package is not installed."""
    script = Path(sys.executable).parent / "uabi-emu"
    return [str(script), command] if script.exists() else [sys.executable, "-P", "-c", LAUNCH, command]


def busybox(arch: str) -> Path:
    """Where `make test-real` puts it."""
    return ROOT / "build" / "real" / "dl" / arch / "busybox-static" / "unpacked" / "bin" / "busybox"


def peers(arch: str) -> dict[str, list[str]]:
    """The prefixes that run a program of an architecture here. Ours come last: calls bare, bounced, and served."""
    found: dict[str, list[str]] = {}
    if arch == HOST_ARCH:
        found["native"] = []
    qemu = shutil.which(f"qemu-{arch}") or shutil.which(f"qemu-{arch}-static")
    if qemu:
        found["qemu-user"] = [qemu]
    found["uabi-emu"] = [*emulator(), "--abi", "bare"]
    found["bounced"] = [*emulator(), "--abi", "bounce"]
    found["userspace"] = [*emulator(), "--vdso", "userspace"]
    return found


def metered(command: Sequence[str], work: Path, timeout_s: int) -> Run:
    """Run a command under the meter, which is small enough not to count in its child's peak of memory."""
    meter = compile_c(ROOT / "bench" / "meter.c", HOST_ARCH, BUILD / "meter")
    result = work / "meter.out"
    done = subprocess.run(
        [meter, result, str(timeout_s), *command], cwd=work, stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    wall, user, system, rss, how, code = result.read_text().split()
    said = (done.stdout if how == "exit" and code == "0" else done.stderr).decode("utf-8", "replace").strip()
    last = said.splitlines()[-1] if said else how
    return Run(float(wall), float(user) + float(system), int(rss), (how, code) == ("exit", "0"), last)


def measure(arch: str, only: set[str], runs: int, timeout_s: int, work: Path) -> dict[tuple[str, str], Figures]:
    """All benchmarks of an architecture under all peers."""
    figures: dict[tuple[str, str], Figures] = {}
    for name, (arguments, _) in BENCHMARKS.items():
        if name not in only:
            continue
        binary = busybox(arch) if name in BUSYBOX else compile_c(SOURCES / f"{name}.c", arch, BUILD / arch / name)
        if not binary.exists():
            print(f"{arch:8} {name:8} no busybox: make test-real fetches it", flush=True)
            continue
        words = [word.replace("{tmp}", str(work)) for word in arguments]
        for _ in range(HELLO_RUNS if name == "hello" else runs):
            for peer, prefix in peers(arch).items():
                if (name in OWN and peer not in OURS) or (peer == "userspace" and name not in SERVED):
                    continue
                of = figures.setdefault((name, peer), Figures())
                if of.runs and not of.good:
                    continue
                (work / "fileio.dat").unlink(missing_ok=True)
                of.runs.append(metered([*prefix, *OWN.get(name, ()), str(binary), *words], work, timeout_s))
        for peer in peers(arch):
            if (name, peer) not in figures:
                continue
            of = figures[name, peer]
            says = f"{of.wall_s:8.3f} s  {of.cpu_s:8.3f} s CPU  {of.rss_mib:7.1f} MiB" if of.good else of.runs[-1].said
            print(f"{arch:8} {name:8} {peer:10} {says}", flush=True)
    return figures


def trap_us() -> float:
    """The v3 figure, in a process of its own."""
    script = ROOT / "bench" / "trap_cost.py"
    return float(subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout)


def import_s(work: Path) -> float:
    """The time of `python -c 'import unicorn'` on the clock."""
    command = [sys.executable, "-c", "import unicorn"]
    return statistics.median(metered(command, work, 60).wall_s for _ in range(HELLO_RUNS))


def bars(arch: str, figures: dict[tuple[str, str], Figures], v3_us: float, importing_s: float) -> list[Bar]:
    """The ratios that were asked for, as far as their figures are there."""

    def net_s(name: str, peer: str) -> float | None:
        of, start = figures.get((name, peer)), figures.get(("hello", peer))
        if of is None or not of.good or start is None or not start.good:
            return None
        return max(of.cpu_s - start.cpu_s, 1e-6)

    def at_most(what: str, value: float, bar: float, unit: str = "times") -> Bar:
        return Bar(what, f"{value:.2f} {unit}", f"at most {bar:g}", value <= bar)

    found = []
    limit = 1.3 if arch == "aarch64" else 1.0
    for name in ("compute", "memory"):
        ours, theirs = net_s(name, "uabi-emu"), net_s(name, "qemu-user")
        if ours and theirs:
            found.append(at_most(f"{name}, CPU time against qemu-user", ours / theirs, limit))
    if ours := net_s("getppid", "uabi-emu"):
        call_us = ours / BENCHMARKS["getppid"][1] * 1e6
        found.append(at_most(f"getppid, {call_us:.2f} us a call, against v3", call_us / v3_us, 2.5))
        ratio = 1e6 / call_us / QILING_GETPPID_A_SECOND
        found.append(Bar("getppid, calls a second against Qiling", f"{ratio:.1f} times", "at least 12", ratio >= 12))
        if bounced := net_s("getppid", "bounced"):
            bounced_us = bounced / BENCHMARKS["getppid"][1] * 1e6
            found.append(at_most(f"getppid bounced, {bounced_us:.2f} us a call, against bare", bounced_us / call_us, 3))
    told, call_s = net_s("datapage", "uabi-emu"), net_s("getppid", "uabi-emu")
    if told and call_s:
        each_ns = told / BENCHMARKS["datapage"][1] * 1e9
        ratio = call_s / BENCHMARKS["getppid"][1] * 1e9 / each_ns
        what = f"getpid through a data page, {each_ns:.0f} ns a call, calls a second against bare"
        found.append(Bar(what, f"{ratio:.0f} times", f"at least {DATA_PAGE_TIMES}", ratio >= DATA_PAGE_TIMES))
    if ours := net_s("fileio", "uabi-emu"):
        call_us = ours / BENCHMARKS["fileio"][1] * 1e6
        what = f"open/read/write/close, {call_us:.2f} us a call, against v3"
        found.append(at_most(what, call_us / v3_us, 8))
        ratio = QILING_FILEIO_US / call_us
        found.append(Bar("open/read/write/close against Qiling", f"{ratio:.1f} times", "", True))
    found += task_bars(net_s) + served_bars(net_s)
    hello = figures.get(("hello", "bounced"))
    if hello is not None and hello.good:
        what = f"hello, {hello.wall_s * 1000:.0f} ms, against `python -c 'import unicorn'`"
        found.append(at_most(what, hello.wall_s / importing_s, 2.5))
        found.append(at_most("hello, peak memory", hello.rss_mib, 80, "MiB"))
    return found


def trace_bars(arch: str, runs: int, timeout_s: int, work: Path) -> list[Bar]:
    """How fast a run is told, start and end included: stories of bounces, and instructions."""
    found = []
    for what, benchmark, arguments, options, unit, bar in TRACES:
        binary = compile_c(SOURCES / f"{benchmark}.c", arch, BUILD / arch / benchmark)
        out = work / "trace"
        command = [*emulator("trace"), *options, "-o", str(out), str(binary), *arguments]
        of = Figures([metered(command, work, timeout_s) for _ in range(runs)])
        with out.open("rb") as lines:
            count = sum(line.startswith(b"bounce ") or unit == "instructions" for line in lines)
        rate = count / of.wall_s if of.good else 0.0
        value = f"{rate:,.0f} {unit} a second" if of.good else "fails"
        found.append(Bar(f"{what}, {count:,} {unit}", value, f"at least {bar:,}", rate >= bar))
        print(f"{arch:8} {what}: {value}", flush=True)
    return found


def sigsys_bars(arch: str, runs: int, timeout_s: int, work: Path) -> list[Bar]:
    """What a call costs that comes back as SIGSYS and is made by a handler, against a bare one."""
    binary = compile_c(SOURCES / "getppid.c", arch, BUILD / arch / "getppid")

    def seconds(abi: str, count: int) -> Figures:
        command = [*emulator(), "--abi", abi, str(binary), str(count)]
        return Figures([metered(command, work, timeout_s) for _ in range(runs)])

    found = []
    each_us: dict[str, float] = {}
    for abi in ("bare", *SIGSYS_ABIS):
        few, many = seconds(abi, 1), seconds(abi, SIGSYS_CALLS)
        if not few.good or not many.good:
            continue
        each_us[abi] = max(many.cpu_s - few.cpu_s, 1e-6) / SIGSYS_CALLS * 1e6
        if abi != "bare" and "bare" in each_us:
            ratio = each_us[abi] / each_us["bare"]
            what = f"getppid by SIGSYS under --abi {abi}, {each_us[abi]:.1f} us, against bare"
            found.append(Bar(what, f"{ratio:.1f} times", f"at most {SIGSYS_TIMES}", ratio <= SIGSYS_TIMES))
            print(f"{arch:8} {what}: {ratio:.1f} times", flush=True)
    return found


def filter_bar() -> Bar:
    """How fast seccomp's filters are, whatever the architecture: the talk's, in a process of its own."""
    script = ROOT / "bench" / "bpf_rate.py"
    rate = float(subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout)
    bar = FILTER_EVALUATIONS_A_SECOND
    return Bar("the talk's filter, evaluations a second", f"{rate:,.0f}", f"at least {bar:,}", rate >= bar)


def task_bars(net_s: Callable[[str, str], float | None]) -> list[Bar]:
    """The ratios of what is about tasks, pipes and signals; `net_s`: CPU time of a benchmark under a peer."""
    found = []
    for name, limit in TASK_BARS:
        ours, theirs = net_s(name, "uabi-emu"), net_s(name, "qemu-user")
        if ours and theirs:
            ratio = ours / theirs
            what = f"{name}, CPU time against qemu-user"
            found.append(Bar(what, f"{ratio:.2f} times", f"at most {limit:g}", ratio <= limit))
    ours, call_s = net_s("signals", "uabi-emu"), net_s("getppid", "uabi-emu")
    if ours and call_s:
        each_us = ours / BENCHMARKS["signals"][1] * 1e6
        ratio = each_us / (call_s / BENCHMARKS["getppid"][1] * 1e6)
        what = f"a signal raised and handled, {each_us:.1f} us, against getppid"
        found.append(Bar(what, f"{ratio:.1f} times", f"at most {SIGNAL_CALLS}", ratio <= SIGNAL_CALLS))
    if ours := net_s("pingpong", "uabi-emu"):
        rate = BENCHMARKS["pingpong"][1] / ours
        kept = rate >= PINGPONG_A_SECOND
        found.append(Bar("pipe round trips a second", f"{rate:.0f}", f"at least {PINGPONG_A_SECOND}", kept))
    return found


def served_bars(net_s: Callable[[str, str], float | None]) -> list[Bar]:
    """What calls cost whose handler serves some in user space, against the plain one."""
    found = []
    for name in SERVED[1:]:
        plain, served = net_s(name, "bounced"), net_s(name, "userspace")
        if plain and served:
            bar = "at most 1" if name in BUSYBOX else ""
            kept = not bar or served <= plain
            what = f"{name} under --vdso userspace, against bounced"
            found.append(Bar(what, f"{served / plain:.2f} times", bar, kept))
    return found


def entry_bars(arch: str, timeout_s: int, work: Path) -> list[Bar]:
    """How often a shell enters the kernel, and how often beyond the trap that each call of an old program is."""
    binary, (arguments, _) = busybox(arch), BENCHMARKS["sh-pipes"]
    counters = work / "counters.json"
    counts = []
    for peer in (*OURS, "userspace"):
        command = [*peers(arch)[peer], "--stats", str(counters), str(binary), *arguments]
        if not binary.exists() or not metered(command, work, timeout_s).good:
            return []
        told = json.loads(counters.read_text())
        counts.append(f"{told['kernel_entries']:,} ({told['kernel_entries'] - told['bounces']:,})")
    what = "sh-pipes, kernel entries (those that are no bounce): bare; bounced; userspace"
    return [Bar(what, "; ".join(counts), "", True)]


def machine() -> list[str]:
    """What the figures were measured on."""

    def first_line(*command: str) -> str:
        if not shutil.which(command[0]):
            return "none"
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.partition("\n")[0]

    model = platform.processor() or HOST_ARCH
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    try:
        engine = version("unicorn")
    except PackageNotFoundError:
        engine = "unknown"
    return [
        f"CPU: {model}, {os.cpu_count()} cores",
        f"kernel: {platform.system()} {platform.release()}, {HOST_ARCH}",
        f"Python {platform.python_version()}, Unicorn {engine}",
        f"peer: {first_line('qemu-aarch64', '--version')}",
        f"date: {time.strftime('%Y-%m-%d')}",
    ]


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is the head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def report(
    results: dict[str, dict[tuple[str, str], Figures]], told: dict[str, list[Bar]], v3_us: float, importing_s: float
) -> str:
    """The Markdown text."""
    parts = ["# Benchmarks", "", "Written by `make bench`; `bench/` holds the sources and the runner.", ""]
    parts += [f"- {line}" for line in machine()]
    parts += [
        "",
        f"v3, the cost of one trap that does as much as half a bounce (`bench/trap_cost.py`): **{v3_us:.2f} us**.",
        f"`python -c 'import unicorn'`: **{importing_s * 1000:.0f} ms**. CPU times are net of `hello`'s.",
        '`fails`: the benchmark did not end well. What the figures are made of: `docs/speed.md`.',
    ]
    for arch, figures in results.items():
        rows: list[list[str]] = [["what", "reached", "bar", ""]]
        found = bars(arch, figures, v3_us, importing_s) + told[arch]
        rows += [[bar.what, bar.value, bar.bar, "" if bar.kept else "**missed**"] for bar in found]
        parts += ["", f"## {arch} guests", "", table(rows), ""]
        names = list(peers(arch))
        rows = [["benchmark", *names]]
        for name in BENCHMARKS:
            cells = [figures.get((name, peer)) for peer in names]
            if any(cells):
                rows.append([name, *map(_cell, cells)])
        parts.append(table(rows))
    return "\n".join(parts) + "\n"


def _cell(of: Figures | None) -> str:
    if of is None:
        return "-"
    if not of.good:
        return "fails"
    return f"{of.cpu_s:.3f} s CPU, {of.wall_s:.3f} s, {of.rss_mib:.0f} MiB"


def update_readme(text: str) -> None:
    """Put the machine and the bars, without the tables of single figures, between the marks in README.md."""
    begin, end = "<!-- bench: begin -->", "<!-- bench: end -->"
    readme = ROOT / "README.md"
    before, found, rest = readme.read_text().partition(begin)
    bars_only = re.sub(r"\n\| benchmark \|.*(?:\n\|.*)*", "", text[text.index("\n- ") + 1 :])
    if found:
        shown = re.sub(r"^## ", "### ", bars_only, flags=re.M).strip()
        readme.write_text(f"{before}{begin}\n\n{shown}\n\n{end}{rest.partition(end)[2]}")


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="Run the benchmarks and write docs/bench.md.")
    parser.add_argument("--arch", choices=ARCHES, action="append")
    parser.add_argument("--only", help="comma-separated benchmarks, trace, sigsys or filter; hello is always there")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--timeout", type=int, default=120, metavar="SECONDS")
    parser.add_argument("--no-write", action="store_true", help="leave docs/bench.md alone")
    options = parser.parse_args()
    only = {"hello", *options.only.split(",")} if options.only else set(BENCHMARKS)
    unknown = only - set(BENCHMARKS) - {"trace", "sigsys", "filter"}
    if unknown:
        parser.error(f"no benchmark called {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="uabi-bench-") as scratch:
        work = Path(scratch)
        v3_before, importing = trap_us(), import_s(work)
        arches = options.arch or ARCHES
        results = {arch: measure(arch, only, options.runs, options.timeout, work) for arch in arches}
        telling = not options.only or "trace" in only
        told = {arch: trace_bars(arch, options.runs, options.timeout, work) if telling else [] for arch in arches}
        if "sh-pipes" in only:
            for arch in arches:
                told[arch] += entry_bars(arch, options.timeout, work)
        if not options.only or "sigsys" in only:
            for arch in arches:
                told[arch] += sigsys_bars(arch, options.runs, options.timeout, work)
        if not options.only or "filter" in only:
            for arch in arches:
                told[arch].append(filter_bar())
        v3 = statistics.mean((v3_before, trap_us()))
    text = report(results, told, v3, importing)
    print(text)
    if not options.no_write:
        (ROOT / "docs").mkdir(exist_ok=True)
        (ROOT / "docs" / "bench.md").write_text(text)
        update_readme(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
