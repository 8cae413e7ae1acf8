"""The text of `emu.report`: cause and place of a fault, instructions, registers, mappings; within 80 columns."""

from __future__ import annotations

from functools import lru_cache
from textwrap import wrap
from typing import TYPE_CHECKING, Final, NamedTuple

from emu import disasm
from emu.places import Places
from emu.printable import printable
from emu.strace.structs_task import signal_name
from kernel_model.abi import signal as sig
from kernel_model.abi.mman import PROT_READ, PROT_WRITE
from kernel_model.events import Fault, SeccompVerdict, SignalDelivered, SignalFrameRefused
from kernel_model.fs.procfs_maps import maps
from kernel_model.mm.uaccess import copy_from_user_partial
from kernel_model.mm.vma import VM_EXEC, VM_READ
from kernel_model.types import PAGE_SHIFT, U32_MASK, UserPtr

if TYPE_CHECKING:
    from emu.symbols import Symbol
    from kernel_model.kernel import Kernel
    from kernel_model.mm.vma import Vma
    from kernel_model.task import Task

_WIDTH: Final = 80
_BEFORE, _AFTER = 5, 5
"""How many instructions are shown around the one that failed."""
_FUNCTION_LIMIT_BYTES: Final = 4096
_REGISTER_COLUMNS: Final = 3
_FIRST_REGISTERS: Final = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp")
"""Before all others, where there are such: the order in which people know them."""
_BYTES_SHOWN: Final = 8
_LABEL: Final = 14
"""Width of the column that says what lies in a mapping."""
_CALLS: Final = ("syscall", "svc")
_ACCESSES: Final = {1: "read", 2: "write", 4: "execution"}

_CAUSES: Final = {
    (sig.SIGSEGV, sig.SEGV_MAPERR): ("SEGV_MAPERR", "nothing is mapped there"),
    (sig.SIGSEGV, sig.SEGV_ACCERR): ("SEGV_ACCERR", "the mapping does not allow it"),
    (sig.SIGSEGV, sig.SI_KERNEL): ("SI_KERNEL", "a general protection fault, which tells no address"),
    (sig.SIGBUS, sig.BUS_ADRERR): ("BUS_ADRERR", "beyond the end of the mapped file"),
    (sig.SIGBUS, sig.BUS_ADRALN): ("BUS_ADRALN", "the address is not aligned"),
    (sig.SIGILL, sig.ILL_ILLOPC): ("ILL_ILLOPC", "the instruction is undefined"),
    (sig.SIGILL, sig.ILL_ILLOPN): ("ILL_ILLOPN", "the instruction is undefined"),
    (sig.SIGFPE, sig.FPE_INTDIV): ("FPE_INTDIV", "integer division by zero"),
    (sig.SIGSYS, sig.SI_KERNEL): ("SI_KERNEL", "the selector of Syscall User Dispatch is neither 0 nor 1"),
    (sig.SIGTRAP, sig.TRAP_BRKPT): ("TRAP_BRKPT", "a breakpoint that nobody waits for"),
    (sig.SIGTRAP, sig.SI_KERNEL): ("SI_KERNEL", "a breakpoint that nobody waits for"),
}
Deadly = Fault | SeccompVerdict | SignalDelivered | SignalFrameRefused
"""What a report can be about; of signals delivered, SIGSYS for a call that was not made."""
_NAMES: Final = {getattr(sig, name): name for name in ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP", "SIGSYS")}


def describe(kernel: Kernel, program: str, event: Deadly) -> str:
    """The report of what is about to end its task, whose registers and memory are as they were then."""
    task = event.task
    if isinstance(event, (SeccompVerdict, SignalDelivered)):
        arch = kernel.arch
        site = kernel.cpu.read_gregs()[arch.PC_INDEX] - arch.SYSCALL_INSTRUCTION_BYTES
        fault = Fault(task, sig.SIGSYS, sig.SYS_SECCOMP, site, 0, site)
        why = _verdict(event) if isinstance(event, SeccompVerdict) else _unhandled_sigsys(task, event)
    elif isinstance(event, SignalFrameRefused):
        fault = Fault(task, sig.SIGSEGV, sig.SI_KERNEL, event.sp, PROT_WRITE, event.pc)
        why = f"SIGSEGV: no room on the stack for the frame of a handler of {signal_name(event.signal)}"
    else:
        fault = event
        why = _frame_of_bounce(kernel, fault) or cause(fault)
    symbol = _symbol(task, fault.pc)
    parts = [
        _headline(f"uabi-emu: {program}: killed by {why}"),
        _place(task, fault.pc),
        _instructions(task, fault.pc, symbol.offset if symbol else 0),
        _registers(kernel.arch.GREG_NAMES, kernel.cpu.read_gregs()),
        _mappings(task, fault),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def cause(fault: Fault) -> str:
    """`SIGSEGV: write to 0x10: nothing is mapped there (SEGV_MAPERR)`."""
    name, words = _CAUSES.get((fault.signal, fault.code), (f"si_code {fault.code}", "a fault"))
    what = ""
    if fault.access and fault.code != sig.SI_KERNEL:
        what = f"{_ACCESSES[fault.access]} {'of' if fault.access == 1 else 'at'} {fault.address:#x}: "
    return f"{_NAMES[fault.signal]}: {what}{words} ({name})"


def _frame_of_bounce(kernel: Kernel, fault: Fault) -> str:
    """What is wrong with a bounce's frame, if that is the fault of a system call instruction; these reach for nothing
    else."""
    instruction = disasm.first(kernel.arch.NAME, _code_at(fault.task, fault.pc), fault.pc)
    if kernel.bounce is None or instruction is None or fault.access not in (PROT_READ, PROT_WRITE):
        return ""
    if fault.signal == sig.SIGSYS:  # of a selector, which is read at this instruction too
        return ""
    if instruction.text.split()[0] not in _CALLS:
        return ""
    name, words = _CAUSES.get((fault.signal, fault.code), (f"si_code {fault.code}", "a fault"))
    if fault.access == PROT_WRITE:
        return f"{_NAMES[fault.signal]}: no room for a bounce's frame, at {fault.address:#x}: {words} ({name})"
    vma = fault.task.mm.vmas.lookup(fault.address)
    if vma is not None and vma.vm_flags & VM_READ:
        words = "its flags are not user space's"
    return f"{_NAMES[fault.signal]}: a bad frame of a bounce, at {fault.address:#x}: {words} ({name})"


def _code_at(task: Task, pc: int) -> bytes:
    return copy_from_user_partial(task.mm, UserPtr(pc), disasm.longest(task.kernel.arch.NAME))


def _verdict(event: SeccompVerdict) -> str:
    """`SIGSYS: a seccomp filter does not allow getppid (KILL_PROCESS, data 3)`."""
    if event.action == "STRICT":
        return f"SIGKILL: seccomp's strict mode does not allow {event.name}"
    return f"SIGSYS: a seccomp filter does not allow {event.name} ({event.action}, data {event.data})"


def _unhandled_sigsys(task: Task, event: SignalDelivered) -> str:
    """A call was to be emulated, and nobody was there to do it."""
    fields = dict(event.info.fields)
    name = task.kernel.table.name(fields["syscall"] & U32_MASK)
    who = "a seccomp filter traps" if event.info.code == sig.SYS_SECCOMP else "Syscall User Dispatch gives back"
    data = f", data {event.info.errno}" if event.info.errno else ""
    code = "SYS_SECCOMP" if event.info.code == sig.SYS_SECCOMP else "SYS_USER_DISPATCH"
    return f"SIGSYS: {who} {name}, and there is no handler, or the signal is blocked or ignored ({code}{data})"


def _headline(text: str) -> list[str]:
    return wrap(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _place(task: Task, pc: int) -> list[str]:
    """Where the program was; and where from, when it had jumped to what is no code."""
    lines = [f"  at {_named(task, pc)}"]
    vma = task.mm.vmas.lookup(pc)
    if vma is None or not vma.vm_flags & VM_EXEC:
        lines += [f"  probably called from {_named(task, address)}" for address in _return_address(task)]
    return lines


def _return_address(task: Task) -> list[int]:
    """What a function that has just been called would return to: the link register, or the top of the stack."""
    arch = task.kernel.arch
    registers = task.kernel.cpu.read_gregs()
    if "x30" in arch.GREG_NAMES:
        address = registers[arch.GREG_NAMES.index("x30")]
    else:
        address = int.from_bytes(copy_from_user_partial(task.mm, UserPtr(registers[arch.SP_INDEX]), 8), "little")
    vma = task.mm.vmas.lookup(address)
    return [address] if vma is not None and vma.vm_flags & VM_EXEC else []


def _named(task: Task, address: int) -> str:
    """`0x401136  main+0x12  (offset 0x1136 of its file)`."""
    where = f"{address:#x}"
    symbol = _symbol(task, address)
    if symbol is not None:
        where += f"  {symbol.name}+{symbol.offset:#x}"
        part = _places(task.kernel).part(task.mm, address)
        where += f", {part.name}" if part is not None and part.name != symbol.name else ""
    vma = task.mm.vmas.lookup(address)
    if vma is not None and vma.vm_file is not None:
        where += f"  (offset {_file_offset(vma, address):#x} of its file)"
    return where


def _file_offset(vma: Vma, address: int) -> int:
    return address - vma.vm_start + (vma.vm_pgoff << PAGE_SHIFT)


def _symbol(task: Task, address: int) -> Symbol | None:
    return _places(task.kernel).symbol(task.mm, address)


@lru_cache(1)
def _places(kernel: Kernel) -> Places:
    return Places(kernel)


def _instructions(task: Task, pc: int, into_function: int) -> list[str]:
    """The instructions around `pc`, which lies `into_function` bytes behind the start of its function (0: unknown)."""
    arch = task.kernel.arch.NAME
    size = disasm.longest(arch)
    vma = task.mm.vmas.lookup(pc)
    if vma is None:
        return []
    back = into_function if 0 < into_function <= _FUNCTION_LIMIT_BYTES else (_BEFORE + 1) * size
    code = copy_from_user_partial(task.mm, UserPtr(pc - back), back) if vma.vm_flags & VM_EXEC and back <= pc else b""
    earlier = disasm.before(arch, code, pc, _BEFORE) if len(code) == back else []
    following = copy_from_user_partial(task.mm, UserPtr(pc), (_AFTER + 1) * size)
    later = disasm.decode(arch, following, pc)[: _AFTER + 1]
    if not later and following:
        later = [disasm.Instruction(pc, following[:4], "(no instruction)")]
    return [
        f"  {'>' if line.address == pc else ' '} {line.address:x}  {_hex(line.data):<{3 * _BYTES_SHOWN}} {line.text}"
        for line in (*earlier, *later)
    ]


def _hex(data: bytes) -> str:
    """The first bytes of an instruction; few are longer."""
    return data.hex(" ") if len(data) <= _BYTES_SHOWN else data[: _BYTES_SHOWN - 1].hex(" ") + " .."


def _registers(names: tuple[str, ...], values: list[int]) -> list[str]:
    """A table read downwards, so that neighbours in number stand below each other."""
    by_name = dict(zip(names, values, strict=True))
    order = [*(name for name in _FIRST_REGISTERS if name in by_name), *names]
    cells = [f"{name:>6} {by_name[name]:016x}" for name in dict.fromkeys(order)]
    rows = -(-len(cells) // _REGISTER_COLUMNS)
    return ["  " + "  ".join(cells[row::rows]) for row in range(rows)]


class _Line(NamedTuple):
    """One line of /proc/self/maps."""

    start: int
    end: int
    words: list[str]

    @classmethod
    def of(cls, text: str) -> _Line:
        """Take one apart: range, permissions, offset, device, inode, name."""
        words = text.split(maxsplit=5)
        start, end = words[0].split("-")
        return cls(int(start, 16), int(end, 16), words)

    def text(self, label: str) -> str:
        """What lies in it, its range, permissions and name, of which the end counts."""
        line = f"  {label:<{_LABEL - 2}}{self.words[0]} {self.words[1]}"
        name = self.words[5] if len(self.words) > 5 else ""
        room = _WIDTH - len(line) - 2
        return f"{line}  {name if len(name) <= room else '...' + name[3 - room :]}".rstrip()


def _mappings(task: Task, fault: Fault) -> list[str]:
    """The lines of /proc/self/maps that matter: where PC and the address lie, and the neighbours of the address."""
    lines = [_Line.of(printable(text)) for text in maps(task, task).rstrip(b"\n").split(b"\n")]
    points = {"pc": fault.pc} | ({"address": fault.address} if fault.access else {})
    chosen: dict[int, list[str]] = {}
    for name, point in points.items():
        position = sum(line.start <= point for line in lines) - 1
        inside = position >= 0 and point < lines[position].end
        if inside:
            chosen.setdefault(position, []).append(name)
        for neighbour in (position,) if inside and name == "pc" else (position - inside, position, position + 1):
            if 0 <= neighbour < len(lines):
                chosen.setdefault(neighbour, [])
    shown = []
    previous = -1
    for position in sorted(chosen):
        if position > previous + 1:
            shown.append(f"{'':{_LABEL}}...")
        shown.append(lines[position].text(" ".join(chosen[position])))
        previous = position
    if previous + 1 < len(lines):
        shown.append(f"{'':{_LABEL}}...")
    return shown


def highlighted(text: str) -> str:
    """For a terminal: the first line bold, the instruction at PC in red."""
    colours = {"uabi-emu: ": "\033[1m", "  > ": "\033[31m"}
    return "\n".join(
        next((f"{colour}{line}\033[0m" for start, colour in colours.items() if line.startswith(start)), line)
        for line in text.split("\n")
    )
