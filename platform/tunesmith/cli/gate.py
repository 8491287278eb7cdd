"""`tunesmith evaluate --gate`: whether a release may go out, said by the exit code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from tunesmith.cli.output import out, show_error, show_json
from tunesmith.errors import InvalidInput, TunesmithError
from tunesmith.language import Language, current

if TYPE_CHECKING:
    from tunesmith.client import Client
    from tunesmith.evaluation.gate import GateResult
    from tunesmith.evaluation.results import EvaluationResult

NOT_ASKED = 4
"""The exit code of a gate that could not be asked."""
_BASE = "base"


@contextlib.contextmanager
def told_apart(gate: str | None) -> Iterator[None]:
    """Of a gate an error has an exit code of its own: 1 says that something was lost."""
    try:
        yield
    except TunesmithError as error:
        if gate is None:
            raise
        show_error(error)
        raise typer.Exit(NOT_ASKED) from None


def will_be_there(spec: dict[str, Any], against: str) -> None:
    """See to it that what a gate compares with is a candidate: what is none is said now, not hours later.

    Raises:
        InvalidInput: It is the base, which is not asked.
    """
    words = against.strip()
    if words != _BASE:
        # The platform refuses a name that is none, and takes one that is named twice once.
        spec["checkpoints"] = [*spec["checkpoints"], words.replace("/checkpoint-", ":")]
    elif spec.get("include_base") is False:
        raise InvalidInput(
            "`--gate base` compares with the base, and `--no-base` does not ask it.",
            hint="Leave `--no-base` out, or name a checkpoint.",
            field="--gate",
        )


def pass_gate(
    client: Client, task_id: str, against: str, margin: float, checkpoints: list[str] | None, as_json: bool
) -> None:
    """Say whether nothing is lost, and exit with the answer."""
    from tunesmith.evaluation.gate import gate

    result = client.evaluation_result(task_id)
    named = [one for one in checkpoints or () if one.strip() not in ("all", against.strip())]
    recommended = result.comparison.recommended if result.comparison else None
    wanted = named[0] if len(named) == 1 else recommended
    if wanted is None:
        newest = [one.candidate for one in result.candidates if not one.candidate.is_base]
        wanted = newest[-1].key if newest else "base"
    verdict: GateResult = gate(
        result.candidates,
        _key(result, wanted),
        _key(result, against),
        margin=margin,
        split=[sample.id for sample in result.samples],
    )
    if as_json:
        show_json(verdict)
    else:
        out().print(verdict.sentence.zh if current() is Language.ZH else verdict.sentence.en, soft_wrap=True)
    raise typer.Exit(verdict.exit_code)


def _key(result: EvaluationResult, said: str) -> str:
    """The key of the candidate that words name.

    Raises:
        InvalidInput: None, or several.
    """
    words = said.strip()
    keys = [one.candidate.key for one in result.candidates]
    if words in keys:
        return words
    ends = {words, f"checkpoint-{words}"}
    found = [
        key for key in keys if key.rpartition("/")[2] in ends or key.replace("/checkpoint-", ":") == words
    ]
    if len(found) == 1:
        return found[0]
    raise InvalidInput(
        f"`{said}` stands for several candidates."
        if found
        else f"`{said}` is no candidate of this evaluation.",
        hint=f"Candidates: {', '.join(f'`{key}`' for key in keys)}.",
        field="--gate",
    )
