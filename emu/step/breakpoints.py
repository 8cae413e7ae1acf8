"""Where a run is to stop: at an address or a function, at a system call, at a bounce."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.mm.vma import VM_EXEC

if TYPE_CHECKING:
    from emu.places import Places
    from kernel_model.mm.mm import MemoryMap


def functions(places: Places, mm: MemoryMap, name: str) -> list[int]:
    """Where functions called `name` begin; two mappings may show the same part of a file, one has code."""
    found = []
    for address in places.addresses(mm, name):
        vma = mm.vmas.lookup(address)
        if vma is not None and vma.vm_flags & VM_EXEC:
            found.append(address)
    return found


class Breakpoint:
    """One of them. `kind`: address | syscall | bounce. `text`: as it was asked for.

    `symbol` and `address`: of `address`, one of them: a function's name, or 0 for the name's sake; `offset` is added.
    `calls`: the numbers it is for; None for every call. `hits`: how often it stopped the run.
    """

    def __init__(
        self,
        kind: str,
        text: str,
        *,
        symbol: str = "",
        address: int = 0,
        calls: frozenset[int] | None = None,
    ) -> None:
        self.number = 0
        self.kind = kind
        self.text = text
        self.symbol = symbol
        self.address = address
        self.calls = calls
        self.hits = 0

    def addresses(self, places: Places, mm: MemoryMap) -> set[int]:
        """Where it is in an address space: a function may be in no file there, or in several."""
        if self.kind != "address":
            return set()
        if self.symbol:
            return {address + self.address for address in functions(places, mm, self.symbol)}
        return {self.address}


class Breakpoints:
    """All that are set, by number."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._last = 0
        self.all: dict[int, Breakpoint] = {}
        self.addresses: set[int] = set()
        """Where code has to be watched, in whatever address space."""

    def add(self, breakpoint: Breakpoint, mm: MemoryMap) -> Breakpoint:
        """Set one; it gets the next number."""
        self._last += 1
        breakpoint.number = self._last
        self.all[self._last] = breakpoint
        self.resolve(mm)
        return breakpoint

    def remove(self, number: int, mm: MemoryMap) -> None:
        """Delete one; KeyError."""
        del self.all[number]
        self.resolve(mm, forget=True)

    def resolve(self, mm: MemoryMap, *, forget: bool = False) -> bool:
        """Find the addresses again, files having been mapped; true when there are other ones now."""
        found = set() if forget else set(self.addresses)
        for breakpoint in self.all.values():
            found |= breakpoint.addresses(self._places, mm)
        changed = found != self.addresses
        self.addresses = found
        return changed

    def at(self, mm: MemoryMap, pc: int) -> Breakpoint | None:
        """The one that stands at `pc` of an address space."""
        if pc not in self.addresses:
            return None
        for breakpoint in self.all.values():
            if pc in breakpoint.addresses(self._places, mm):
                return breakpoint
        return None

    def of_call(self, kind: str, number: int) -> Breakpoint | None:
        """The one of that kind (syscall | bounce) for call `number`."""
        for breakpoint in self.all.values():
            if breakpoint.kind == kind and (breakpoint.calls is None or number in breakpoint.calls):
                return breakpoint
        return None

    @property
    def by_name(self) -> bool:
        """Does any stand at a function, whose file may yet be mapped?"""
        return any(breakpoint.symbol for breakpoint in self.all.values())
