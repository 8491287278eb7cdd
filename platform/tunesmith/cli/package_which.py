"""`tunesmith packages which TASK`: the files of a model beside each other, and the one for a machine."""

from __future__ import annotations

import os
import re
from typing import Annotated

import typer

from tunesmith.cli.arguments import JsonFlag, LanguageOption, TaskArgument, connect
from tunesmith.cli.output import out, say, show_json, show_table, table
from tunesmith.language import Language, choose, current, tr

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)B?\s*", re.IGNORECASE)
_SHARE = 0.8
"""Of this machine's memory: the rest is the system's."""


def which(
    task: TaskArgument,
    checkpoint: Annotated[
        int | None, typer.Option("--checkpoint", "-c", help="Files of this step alone.")
    ] = None,
    limit: Annotated[
        str | None,
        typer.Option(help="Memory that it may take, such as `4GB`; most of this machine's if not given."),
    ] = None,
    context: Annotated[int, typer.Option(min=1, help="Tokens of the longest talk.")] = 4096,
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the files of a model beside each other, and which is the one for a machine."""
    choose(lang)
    wanted = _bytes(limit) if limit is not None else _own_memory()
    with connect() as client:
        task_id = client.task(task).id
        found = client.which_package(task_id, checkpoint=checkpoint, limit=wanted, context=context)
    if as_json:
        show_json(found)
        return
    if limit is None and wanted is not None:
        say(f"No limit is given: this machine's is taken, {wanted / 1e9:.1f} GB.")
    numbers = ["size", "memory", "difference (KL)", "same token", "tokens/s"]
    shown = table("type", "file", *numbers, "fits", numbers=numbers)
    for row in found.rows:
        shown.add_row(
            row.type,
            row.file or "",
            f"{'' if row.file else '~'}{row.bytes / 1e6:.1f} MB",
            "" if row.memory_bytes is None else f"{row.memory_bytes / 1e6:.0f} MB",
            "" if row.kl_mean is None else f"{row.kl_mean:.2g}",
            "" if row.top1 is None else f"{row.top1:.1%}",
            "" if row.tokens_per_second is None else f"{row.tokens_per_second:.0f}",
            "" if row.fits is None else tr("yes" if row.fits else "no"),
        )
    show_table(shown)
    machines = sorted({row.measured_on for row in found.rows if row.measured_on})
    if machines:
        say(f"Tokens/s were measured in the proofs, in one stream: {', '.join(machines)}.")
    out().print(found.sentence.get("zh" if current() is Language.ZH else "en", ""))


def _bytes(given: str) -> int:
    """A size as people write it.

    Raises:
        BadParameter: It is none.
    """
    found = _SIZE.fullmatch(given)
    size = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if size < 1:
        raise typer.BadParameter("a size is a number with its unit, such as `4GB`", param_hint="--limit")
    return size


def _own_memory() -> int | None:
    """Most of this machine's memory; None where the system does not say."""
    try:
        return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * _SHARE)
    except (AttributeError, ValueError, OSError):
        return None
