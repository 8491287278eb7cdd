"""`tunesmith samples ...`: what an evaluation asks. A file of this machine is read here and needs no platform."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from tunesmith.cli import completion
from tunesmith.cli.arguments import ForceFlag, JsonFlag, connect
from tunesmith.cli.format import plain
from tunesmith.cli.output import out, say, show_json, show_table, table
from tunesmith.errors import InvalidInput
from tunesmith.language import Language, current

if TYPE_CHECKING:
    from tunesmith.evaluation.sample_views import SampleCheck, SamplesEdited
    from tunesmith.evaluation.samples import Columns

_OURS = "default"
_SHOWN_LETTERS = 60


SourceArgument = Annotated[
    str,
    typer.Argument(metavar="FILE", help="A file of this machine or the server's, or a data set's name."),
]
NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATASET", help="The data set that holds the samples.", autocompletion=completion.datasets
    ),
]
PromptColumn = Annotated[str | None, typer.Option(help="The column of what is asked.")]
ResponseColumn = Annotated[str | None, typer.Option(help="The column of the expected answer.")]
SystemColumn = Annotated[str | None, typer.Option(help="The column of system prompts.")]


def check(
    file: SourceArgument,
    *,
    prompt_column: PromptColumn = None,
    response_column: ResponseColumn = None,
    system_column: SystemColumn = None,
    first: Annotated[int, typer.Option(min=0, max=1000, help="Show so many of its samples.")] = 5,
    as_json: JsonFlag = False,
) -> None:
    """Read a sample file: how many samples it has, what is wrong with which. Exits with 1 when it would be refused.

    Reads a file of this machine here.
    """
    columns: Columns = {
        "prompt_column": prompt_column,
        "response_column": response_column,
        "system_column": system_column,
    }
    found = _looked_at(file, columns, first)
    if as_json:
        show_json(found)
    else:
        _print(found)
    if found.bad:
        raise typer.Exit(1)


def show(
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="A file, or a data set's name; ours when left out.")
    ] = _OURS,
    *,
    language: Annotated[str, typer.Option(help="Of ours: `en`, `zh` or `all`.")] = "all",
    first: Annotated[int, typer.Option(min=0, max=1000, help="Show so many.")] = 20,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write them to a sample file instead.")
    ] = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Show samples with their ids: ours, a file's, or a data set's. `--save` writes a file to start your own from."""
    if file == _OURS and not _is_here(file):
        found = _ours(language, None if save else first)
    elif save is None:
        found = _looked_at(file, {}, first)
    else:
        from tunesmith.evaluation.sample_file import MAX_SAMPLES

        found = _looked_at(file, {}, MAX_SAMPLES)
    if save is not None:
        _save(found, save, force=force)
        return
    if as_json:
        show_json(found)
    else:
        _print(found)


def add(
    dataset: NameArgument,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A sample file of this machine: all of its samples."),
    ] = None,
    *,
    prompt: Annotated[str | None, typer.Option(help="What is asked.")] = None,
    completion: Annotated[str | None, typer.Option(help="The answer that is expected.")] = None,
    system: Annotated[str | None, typer.Option(help="A system prompt before it.")] = None,
    split: Annotated[str | None, typer.Option(help="`validation` or `train`.")] = None,
    keyword: Annotated[
        list[str] | None, typer.Option(help="What the answer must name. May be repeated.")
    ] = None,
    check: Annotated[
        list[str] | None,
        typer.Option(help="What its form must keep, as `json`, `words<=50`, `bullets=3`. May be repeated."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="The class that is expected.")] = None,
    instead_of: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Remove this sample. May be repeated.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Add a sample, or a file of them, to a data set: its next version. Makes the data set where there is none."""
    if (file is None) == (prompt is None):
        raise InvalidInput(
            "One sample is added by its prompt, or all of a file by its name.",
            hint=f'As in `tunesmith samples add {dataset} --prompt "..." --completion "..."`.',
        )
    if file is None:
        given = {"prompt": prompt, "completion": completion, "system": system, "label": label}
        row: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        row |= {"keywords": keyword} if keyword else {}
        row |= {"checks": check} if check else {}
        rows = [row]
    else:
        rows = _rows_of(file)
    if split is not None:
        rows = [{**one, "split": split} for one in rows]
    with connect() as client:
        edited = client.samples.edit(dataset, rows, instead_of or ())
    _say_edited(edited, as_json=as_json)


def remove(
    dataset: NameArgument,
    sample: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of samples.")],
    as_json: JsonFlag = False,
) -> None:
    """Remove samples by their ids: the data set's next version is without them."""
    with connect() as client:
        edited = client.samples.edit(dataset, remove=sample)
    _say_edited(edited, as_json=as_json)


def _is_here(given: str) -> bool:
    return Path(given).expanduser().exists()


def _looked_at(file: str, columns: Columns, first: int) -> SampleCheck:
    """What a file holds; one of this machine is read here."""
    if not _is_here(file):
        with connect() as client:
            return client.samples.check(file, first=first, **columns)
    from tunesmith.evaluation.sample_views import SampleCheck
    from tunesmith.evaluation.samples import inspect_samples

    return SampleCheck.of(inspect_samples(Path(file).expanduser(), **columns), first)


def _ours(language: str, first: int | None) -> SampleCheck:
    from tunesmith.evaluation.sample_views import SampleCheck
    from tunesmith.evaluation.samples import default_samples

    languages: Any = {"en": ("en",), "zh": ("zh",), "all": ("en", "zh")}.get(language)
    if languages is None:
        raise InvalidInput(f"There are no samples in `{language}`.", hint="`en`, `zh` or `all`.")
    found = default_samples(languages)
    return SampleCheck.of(found, len(found.samples) if first is None else first)


def _rows_of(file: Path) -> list[dict[str, Any]]:
    from tunesmith.evaluation.sample_edit import row_of
    from tunesmith.evaluation.samples import read_samples

    found = read_samples(file.expanduser())
    return [{"split": sample.split, **row_of(sample)} for sample in found.samples]


def _save(found: SampleCheck, path: Path, *, force: bool) -> None:
    from tunesmith.evaluation.sample_edit import file_of

    if found.bad or found.more:
        raise InvalidInput(
            f"`{found.name}` is not written whole: entries that cannot be used: {found.bad}, "
            f"samples that would be left out: {found.more}.",
            hint=f"`tunesmith samples check {found.name}` says why.",
        )
    if path.exists() and not force:
        raise InvalidInput(f"`{path}` is there already.", hint="Replace it with `--force`.")
    splits = file_of(found.samples)
    lines = [
        f'  "{split}": [\n'
        + ",\n".join(f"    {json.dumps(row, ensure_ascii=False)}" for row in rows)
        + "\n  ]"
        for split, rows in splits.items()
    ]
    try:
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    except OSError as error:
        raise InvalidInput(
            f"`{path}` cannot be written: {error.strerror}.", hint="Check its folder."
        ) from error
    say(f"Wrote `{path}`. Samples: {len(found.samples)}.")


def _print(found: SampleCheck) -> None:
    counts = ", ".join(f"{split} {count}" for split, count in found.counts.items())
    say(f"Samples of `{plain(found.name)}`: {counts}.")
    for problem in found.problems:
        out().print(Text(plain(f"{problem.field}: {problem.message}"), style="red"))
        if problem.hint:
            out().print(Text(plain(f"  {problem.hint}")))
    for note in found.notes:
        say(note.zh if current() is Language.ZH else note.en)
    if not found.samples:
        return
    shown = table("id", "split", "asks", "expects", "checks")
    for sample in found.samples:
        shown.add_row(
            sample.id,
            sample.split,
            Text(_beginning(sample.turns[-1].content)),
            Text(_beginning(sample.reference)),
            Text(_beginning(", ".join(sample.checks))),
        )
    show_table(shown)
    if found.more:
        say(f"{found.more} more; `--first` shows more of them.")


def _beginning(text: str) -> str:
    line = plain(" ".join(text.split()))
    return line if len(line) <= _SHOWN_LETTERS else f"{line[: _SHOWN_LETTERS - 3]}..."


def _say_edited(edited: SamplesEdited, *, as_json: bool) -> None:
    if as_json:
        show_json(edited)
    else:
        counts = ", ".join(f"{split} {count}" for split, count in edited.counts.items())
        say(f"`{edited.version}`: {counts}. Added: {len(edited.added)}, removed: {len(edited.removed)}.")
        for one in edited.missing:
            say(f"There is no sample `{one}`.")
    if edited.missing:
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Add the commands to an app."""
    samples = typer.Typer(
        name="samples",
        help="Samples of evaluations: show ours, check a file, add and remove.",
        no_args_is_help=True,
    )
    for command in (check, show, add, remove):
        samples.command()(command)
    app.add_typer(samples)
