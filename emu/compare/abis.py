"""Ways into the kernel by name, as `--abis` lists them: `bare`, `bounce`, `bounce:task-page+legacy`."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

_VARIANTS: Final = {
    "slide": ("bounce_check", "slide"),
    "site": ("bounce_check", "site"),
    "task-page": ("bounce_frame", "task-page"),
    "stack": ("bounce_frame", "stack"),
    "user": ("bounce_return", "user"),
    "redirect": ("bounce_return", "redirect"),
    "legacy": ("bounce_set", "legacy"),
    "all": ("bounce_set", "all"),
    "origin": ("visible", "origin"),
    "real": ("visible", "real"),
}
"""A word behind the colon to the option of `uabi-emu run` that it stands for."""
_BOUNCE_OPTIONS: Final = ("bounce_check", "bounce_frame", "bounce_return", "bounce_set")


class Abi(NamedTuple):
    """One of them. `options`: what it sets, by the parameter names of `machine_options`."""

    name: str
    abi: str
    options: dict[str, str]

    def applied(self, given: dict[str, Any]) -> dict[str, Any]:
        """What its machine is made with: what the command line says, but for what it says itself."""
        kept = given | dict.fromkeys(_BOUNCE_OPTIONS) if self.abi == "bare" else given
        return kept | self.options


class NoSuchAbi(Exception):
    """The text says what is wrong and what to write."""


def parse(text: str) -> list[Abi]:
    """The ABIs of a list with commas, in its order; NoSuchAbi."""
    found: list[Abi] = []
    for name in text.split(","):
        abi, colon, words = name.strip().partition(":")
        if abi not in ("bare", "bounce"):
            raise NoSuchAbi(f"'{name}' is no ABI: write bare, bounce, or bounce:task-page")
        if colon and abi == "bare":
            raise NoSuchAbi(f"'{name}': bare has no variants: write bare")
        options: dict[str, str] = {}
        for word in words.split("+") if colon else ():
            if word not in _VARIANTS:
                raise NoSuchAbi(f"'{name}': no variant '{word}': write one of {', '.join(_VARIANTS)}")
            option, value = _VARIANTS[word]
            if option in options:
                raise NoSuchAbi(f"'{name}': {word} and {options[option]} exclude each other: write one of them")
            options[option] = value
        if any(name.strip() == other.name for other in found):
            raise NoSuchAbi(f"'{name}' stands there twice: write it once")
        found.append(Abi(name.strip(), abi, options))
    if len(found) < 2:
        raise NoSuchAbi(f"'{text}': there is nothing to compare it with: write two or more, such as bare,bounce")
    return found
