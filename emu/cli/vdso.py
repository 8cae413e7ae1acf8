"""`uabi-emu vdso`: build the vDSO images, show what is in them, check that they are what they should be."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

import click

from emu.cli.errors import CliError
from emu.cli.options import OneOf
from vdso_image.image import ARCHITECTURES, KINDS, file_name, load

_arch = click.option(
    "--arch", type=OneOf(ARCHITECTURES), metavar="|".join(ARCHITECTURES), help="Only that architecture (default: both)."
)


@click.group(no_args_is_help=False, options_metavar="[options]")
def vdso() -> None:
    """The vDSO images: build them from their sources, show or check the built ones."""


@vdso.command(options_metavar="[options]", short_help="Assemble the sources and write the images.")
@_arch
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to (default: where runs look, vdso_image/built).",
)
def build(arch: str | None, output: Path | None) -> None:
    """Assemble the sources and write the images, with a description of each beside it."""
    from vdso_image.assemble import AssemblyError
    from vdso_image.build import BUILT, write
    from vdso_image.cfi import CfiError
    from vdso_image.source import SourceError

    directory = output or BUILT
    for name, kind in product([arch] if arch else ARCHITECTURES, KINDS):
        try:
            built = write(name, directory, kind)
        except (SourceError, AssemblyError, CfiError) as error:
            raise CliError(f"vdso build: {name}: {error}") from error
        except OSError as error:
            raise CliError(
                f"vdso build: {error.filename or directory}: {error.strerror}: name another directory with -o"
            ) from error
        click.echo(f"{directory / file_name(name, kind)}.so: {len(built.elf)} bytes")


@vdso.command(options_metavar="[options]", short_help="Show what is in the built images.")
@_arch
@click.option("--image", type=OneOf(KINDS), metavar="|".join(KINDS), default="plain", help="Which (default: plain).")
@click.argument("functions", nargs=-1)
def show(arch: str | None, image: str, functions: tuple[str, ...]) -> None:
    """Show the built images: symbols, sections, handlers with unwind rules, data page. FUNCTIONS: only their code."""
    from vdso_image.listing import all_code, overview

    texts = []
    unknown = None
    for name in [arch] if arch else ARCHITECTURES:
        built = load(name, image)
        try:
            texts.append("\n".join(all_code(built, functions)) if functions else overview(built))
        except KeyError as error:
            unknown = error.args[0]
    if not texts:
        raise CliError(f"vdso show: {unknown}: no such function: see 'uabi-emu vdso show'")
    sys.stdout.write("\n\n".join(text.rstrip("\n") for text in texts) + "\n")


@vdso.command(short_help="Print the C header of the image libkernel.")
def header() -> None:
    """Print the C header of the image libkernel: a prototype for each call, and the list that the guest library is made
    from."""
    from vdso_image.libkernel import header as text

    click.echo(text(), nl=False)


@vdso.command(options_metavar="[options]", short_help="Build afresh and compare; let other tools read the images.")
@_arch
def check(arch: str | None) -> int:
    """Build afresh and compare; let other tools read the images. Status 1 when something is wrong."""
    from vdso_image.assemble import AssemblyError
    from vdso_image.cfi import CfiError
    from vdso_image.source import SourceError
    from vdso_image.verify import verify

    bad = 0
    for name, kind in product([arch] if arch else ARCHITECTURES, KINDS):
        try:
            findings = verify(name, kind=kind)
        except (SourceError, AssemblyError, CfiError) as error:
            raise CliError(f"vdso check: {name}: {error}") from error
        click.echo(f"{file_name(name, kind)}:")
        for finding in findings:
            mark = {True: "yes", False: "NO", None: "not checked"}[finding.good]
            detail = f" ({finding.detail})" if finding.detail else ""
            click.echo(f"  {finding.what}: {mark}{detail}")
            bad += finding.good is False
    return min(bad, 1)
