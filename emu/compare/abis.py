"""Ways into the kernel by name, as `--abis` lists them: `bare`, `seccomp`, `bounce:task-page+legacy`."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

_VDSO_VARIANTS: Final = {word: ("vdso_data", word) for word in ("percpu", "percpu-racy", "perthread")} | {
    "libkernel": ("vdso", "libkernel")
}
"""What a program may call of the vDSO, whatever becomes of its own calls."""
_BOUNCE_VARIANTS: Final = {
    "slide": ("bounce_check", "slide"),
    "site": ("bounce_check", "site"),
    "task-page": ("bounce_frame", "task-page"),
    "stack": ("bounce_frame", "stack"),
    "user": ("bounce_return", "user"),
    "redirect": ("bounce_return", "redirect"),
    "legacy": ("bounce_set", "legacy"),
    "all": ("bounce_set", "all"),
    "userspace": ("vdso", "userspace"),
    "plain": ("vdso", "plain"),
    "origin": ("visible", "origin"),
    "real": ("visible", "real"),
} | _VDSO_VARIANTS
_HANDLER_VARIANTS: Final = {word: ("handler", word) for word in ("careful", "slide", "hiding")} | _VDSO_VARIANTS
_VARIANTS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "bare": _VDSO_VARIANTS,
    "bounce": _BOUNCE_VARIANTS,
    "seccomp": _HANDLER_VARIANTS,
    "dispatch": _HANDLER_VARIANTS,
}
"""Of each ABI: a word behind the colon to the option of `uabi-emu run` that it stands for."""
_BOUNCE_OPTIONS: Final = ("bounce_check", "bounce_frame", "bounce_return", "bounce_set")


class Abi(NamedTuple):
    """One of them. `options`: what it sets, by the parameter names of `machine_options`."""

    name: str
    abi: str
    options: dict[str, str]

    def applied(self, given: dict[str, Any]) -> dict[str, Any]:
        """What its machine is made with: what the command line says, but for what it says itself."""
        others = [] if self.abi == "bounce" else [*_BOUNCE_OPTIONS]
        if others and given["vdso"] != "libkernel":
            others.append("vdso")
        others += ["handler"] if _VARIANTS[self.abi] is not _HANDLER_VARIANTS else []
        return given | dict.fromkeys(others) | self.options


class NoSuchAbi(Exception):
    """The text says what is wrong and what to write."""


def parse(text: str) -> list[Abi]:
    """The ABIs of a list with commas, in its order; NoSuchAbi."""
    found: list[Abi] = []
    for name in text.split(","):
        abi, colon, words = name.strip().partition(":")
        variants = _VARIANTS.get(abi)
        if variants is None:
            raise NoSuchAbi(f"'{name}' is no ABI: write bare, bounce, seccomp, dispatch, or bounce:task-page")
        options: dict[str, str] = {}
        for word in words.split("+") if colon else ():
            if word not in variants:
                raise NoSuchAbi(f"'{name}': no variant '{word}': write one of {', '.join(variants)}")
            option, value = variants[word]
            if option in options:
                raise NoSuchAbi(f"'{name}': {word} and {options[option]} exclude each other: write one of them")
            options[option] = value
        if any(name.strip() == other.name for other in found):
            raise NoSuchAbi(f"'{name}' stands there twice: write it once")
        found.append(Abi(name.strip(), abi, options))
    if len(found) < 2:
        raise NoSuchAbi(f"'{text}': there is nothing to compare it with: write two or more, such as bare,bounce")
    return found
