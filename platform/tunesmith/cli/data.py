"""`tunesmith data ...`: data sets, reports on files, and rows under the microscope.

A file that lies on this machine is read here where that is possible, so that a report needs no platform.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from tunesmith.cli import completion
from tunesmith.cli.arguments import JsonFlag, YesFlag, connect
from tunesmith.cli.data_run import run
from tunesmith.cli.format import local_time, plain, size
from tunesmith.cli.output import ask, facts, out, say, show_json, show_table, table
from tunesmith.errors import InvalidInput, TunesmithError
from tunesmith.language import tr

if TYPE_CHECKING:
    from tunesmith.client import Client
    from tunesmith.client.datasets import Datasets
    from tunesmith.dataset_views import DatasetView, UploadView, VersionView
    from tunesmith.spec.training import TrainSpec

DatasetArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="The data set's name or id; `name@2` for its second version.",
        autocompletion=completion.datasets,
    ),
]
FileArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="A file of this machine or the server's, or a data set's name.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A training parameter that decides how rows are read, as `training_type=pretrain`. May be repeated.",
    ),
]
MaxLengthOption = Annotated[int | None, typer.Option(help="Tokens that a row is cut to.")]


def add(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A file, or `s3://bucket/key` as the server sees it. `tunesmith data run load` takes folders "
            "and the Hub.",
        ),
    ],
    name: Annotated[str | None, typer.Option(help="The data set; the file's own name when left out.")] = None,
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place", help="Do not send the file: it lies where the server can read it, and stays."
        ),
    ] = False,
    resume: Annotated[
        str | None, typer.Option(metavar="UPLOAD", help="Go on with an upload that broke off.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Add a file: a new data set, or the next version of one."""
    with connect() as client:
        if "://" in source:
            view = client.datasets.register(source, name)
        elif Path(source).expanduser().is_dir():
            raise InvalidInput(
                f"`{source}` is a folder.",
                hint=f"Load its files into one data set: `tunesmith data run load {source}`.",
            )
        elif in_place:
            view = client.datasets.register(str(Path(source).expanduser().absolute()), name)
        else:
            view = _send(client.datasets, Path(source).expanduser(), name, resume)
    if as_json:
        show_json(view)
        return
    newest = view.versions[0]
    say(
        f"`{view.name}@{newest.number}`: {newest.kind} rows, {newest.format}, {size(newest.bytes)}. "
        f"Train with `--train-file {view.name}`."
    )


def _send(datasets: Datasets, file: Path, name: str | None, resume: str | None) -> DatasetView:
    begun = resume

    def tell(upload: UploadView) -> None:
        nonlocal begun
        begun = upload.id
        if sys.stderr.isatty():
            say(f"{size(upload.offset)} / {size(upload.bytes)}")

    try:
        return datasets.upload(file, name, resume=resume, on_piece=tell)
    except TunesmithError as error:
        if begun and error.retryable:
            error.hint = f"Go on with `tunesmith data add {file} --resume {begun}`."
        raise


def list_datasets(as_json: JsonFlag = False) -> None:
    """List data sets."""
    with connect() as client:
        found = list(client.datasets.list())
    if as_json:
        show_json(found)
        return
    if not found:
        say("No data sets yet. `tunesmith data add FILE` adds one; `--train-file` takes a path as well.")
        return
    shown = table("name", "version", "rows hold", "format", "size", "updated", numbers=("version", "size"))
    for view in found:
        newest = view.versions[0]
        packed = f" ({newest.packing})" if newest.packing else ""
        shown.add_row(
            Text(plain(view.name)),
            str(view.latest),
            Text(plain(newest.kind)),
            f"{newest.format}{packed}",
            size(newest.bytes),
            local_time(view.updated_at),
        )
    show_table(shown)


def uploads(
    remove: Annotated[
        str | None, typer.Option(metavar="UPLOAD", help="Give this one up; what has arrived is removed.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """List your own uploads that are under way, or give one up."""
    with connect() as client:
        if remove is not None:
            client.datasets.give_up(remove)
            if as_json:
                show_json({"removed": remove})
            else:
                say(f"`{remove}` is given up.")
            return
        found = client.datasets.uploads()
    if as_json:
        show_json(found)
        return
    if not found:
        say("No upload is under way.")
        return
    shown = table("upload", "file", "arrived", "of", "given up", numbers=("arrived", "of"))
    for view in found:
        shown.add_row(
            view.id,
            Text(plain(view.file_name)),
            size(view.offset),
            size(view.bytes),
            local_time(view.expires_at),
        )
    show_table(shown)
    say("Go on with `tunesmith data add FILE --resume UPLOAD`, or give one up with `--remove UPLOAD`.")


def show(dataset: DatasetArgument, as_json: JsonFlag = False) -> None:
    """Show a data set and its versions."""
    with connect() as client:
        view = client.datasets.show(dataset)
    if as_json:
        show_json(view)
        return
    newest = view.versions[0]
    rows = [
        ("data set", f"{view.name}  {view.id}"),
        ("rows hold", f"{newest.kind}: {', '.join(newest.columns)}"),
        ("updated", local_time(view.updated_at)),
    ]
    out().print(facts(rows))
    shown = table("version", "format", "size", "sha256", "source", "made", numbers=("version", "size"))
    shown.columns[4].no_wrap, shown.columns[4].overflow = False, "fold"
    for version in view.versions:
        made = local_time(version.created_at)
        shown.add_row(
            str(version.number),
            version.format,
            size(version.bytes),
            version.sha256[:12],
            Text(plain(_origin(version))),
            made,
        )
    show_table(shown)


def _origin(version: VersionView) -> str:
    """Where a version comes from, as far as one line says it."""
    made = version.lineage
    if made is None:
        return version.source
    of = ", ".join(map(str, made.parts)) or ", ".join(made.sources)
    return f"{made.operation}: {of}" + (f" ({made.task_id})" if made.task_id else "")


def remove(
    dataset: DatasetArgument,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Remove a data set, or one version (`name@2`). A file that was added in place stays where it is."""
    with connect() as client:
        view = client.datasets.show(dataset)
        what = f"{view.name}@{view.versions[0].number}" if "@" in dataset else tr(f"all of {view.name}")
        if not yes and not ask(f"Remove `{plain(what)}`?"):
            raise typer.Exit(1)
        client.datasets.remove(dataset)
    if as_json:
        show_json({"removed": dataset})
    else:
        say(f"Removed {what}.")


def validate(
    file: FileArgument,
    *,
    eval_file: Annotated[str | None, typer.Option("--eval", metavar="FILE", help="Held-out rows.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Count tokens as this model reads them.", autocompletion=completion.models),
    ] = None,
    max_length: MaxLengthOption = None,
    settings: SetOption = None,
    allow_bad: Annotated[
        float, typer.Option(metavar="PERCENT", min=0, max=100, help="Share of the rows that may be bad.")
    ] = 0.0,
    as_json: JsonFlag = False,
) -> None:
    """Read a file: what it holds, each bad row with its place, what a model would learn. Exits with 1 when refused.

    Reads a file of this machine here, unless the model has a name of the platform's.
    """
    from tunesmith.cli.data_reports import print_report
    from tunesmith.dataset_views import Verdict

    parameters = _parameters(settings, max_length)
    if _is_here(file) and (eval_file is None or _is_here(eval_file)) and (model is None or _is_here(model)):
        from tunesmith.rows.report import validation

        report = validation.validate(
            Path(file).expanduser(),
            _spec(parameters),
            evaluation=Path(eval_file).expanduser() if eval_file else None,
            model=Path(model).expanduser() if model else None,
            allowed_bad_percent=allow_bad,
        )
    else:
        with connect() as client:
            report = client.datasets.validate(
                _named(file),
                eval_file=_named(eval_file) if eval_file else None,
                model=_named(model) if model else None,
                parameters=parameters,
                allowed_bad_percent=allow_bad,
            )
            _say_parts(client, file)
    if as_json:
        show_json(report)
    else:
        print_report(report)
    if report.verdict is Verdict.REFUSED:
        raise typer.Exit(1)


def preview(
    file: FileArgument,
    *,
    model: Annotated[
        str,
        typer.Option(
            help="The model that would learn: its folder or name.", autocompletion=completion.models
        ),
    ],
    row: Annotated[
        list[int] | None,
        typer.Option(
            "--row", "-r", metavar="N", help="Its line, or its number in an array or table. May be repeated."
        ),
    ] = None,
    first: Annotated[
        int, typer.Option(min=1, max=50, help="So many of the first rows, where none is named.")
    ] = 1,
    max_length: MaxLengthOption = None,
    settings: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Put rows under the microscope: what the chat template writes, and which tokens are trained, read or cut."""
    from tunesmith.cli.data_reports import print_preview

    parameters = _parameters(settings, max_length)
    if _is_here(file) and _is_here(model):
        from tunesmith.rows.report.preview import preview as preview_row

        found = preview_row(
            Path(file).expanduser(), _spec(parameters), Path(model).expanduser(), rows=row or (), first=first
        )
    else:
        with connect() as client:
            found = client.datasets.preview(
                _named(file), _named(model), rows=row or (), first=first, parameters=parameters
            )
            _say_parts(client, file)
    if as_json:
        show_json(found)
        return
    print_preview(found)


def _say_parts(client: Client, dataset: str) -> None:
    from tunesmith.cli.sources import say_parts

    say_parts(client, dataset)


def _is_here(given: str) -> bool:
    return Path(given).expanduser().exists()


def _named(given: str) -> str:
    """As the server is asked: a path does not depend on this process's folder."""
    return str(Path(given).expanduser().absolute()) if _is_here(given) or given.startswith("~") else given


def _parameters(settings: Iterable[str] | None, max_length: int | None) -> dict[str, Any]:
    found: dict[str, Any] = {} if max_length is None else {"max_length": max_length}
    for pair in settings or ():
        name, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"`{pair}` is not NAME=VALUE.", param_hint="--set")
        try:
            found[name.strip()] = json.loads(value)
        except ValueError:
            found[name.strip()] = value
    return found


def _spec(parameters: dict[str, Any]) -> TrainSpec:
    from tunesmith.spec.training import TrainSpec

    return TrainSpec.read({**parameters, "model_name_or_path": "-", "train_file": "-"})


def add_to(app: typer.Typer) -> None:
    """Add the commands to an app."""
    data = typer.Typer(
        name="data", help="Data sets, reports on files, rows under the microscope.", no_args_is_help=True
    )
    data.command("list")(list_datasets)
    data.command("uploads")(uploads)
    for command in (add, show, remove, validate, preview, run):
        data.command()(command)
    app.add_typer(data)
