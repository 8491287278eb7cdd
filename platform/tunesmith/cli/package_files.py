"""`tunesmith packages download`, `link`, `upload`: a package's files on their way to people."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli.arguments import (
    ForceFlag,
    JsonFlag,
    LanguageOption,
    OutputOption,
    SettingsOption,
    TaskArgument,
    WatchFlag,
    connect,
    is_followed,
    pairs,
)
from tunesmith.cli.output import say, show_json, show_notices, talk
from tunesmith.language import choose

FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="One of the package's files.")]


def download(
    task: TaskArgument,
    name: FileArgument,
    file: OutputOption = None,
    lang: LanguageOption = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Fetch a file of a package. What was cut off goes on where it was; its sha256 is checked."""
    choose(lang)
    target = file or Path(name)
    with connect() as client, _shown(name) as progress:
        size = client.save_package_file(
            client.task(task).id, name, target, overwrite=force, progress=progress
        )
    if as_json:
        show_json({"file": str(target.absolute()), "bytes": size})
    else:
        say(f"The file lies in `{target}`.")


def link(
    task: TaskArgument,
    name: FileArgument,
    hours: Annotated[
        float, typer.Option("--hours", min=1 / 60, max=168, help="How long it counts: at most a week.")
    ] = 24,
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make an address that hands one file to whoever has it, without a key, until it runs out."""
    choose(lang)
    with connect() as client:
        made = client.link_package_file(client.task(task).id, name, round(hours * 3600))
    if as_json:
        show_json(made)
        return
    typer.echo(made.url)
    say(f"It counts until {made.expires_at:%Y-%m-%d %H:%M} UTC. The file's sha256 is `{made.sha256}`.")


def upload(
    task: TaskArgument,
    repository: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="On the Hub; it is made where there is none.")
    ],
    *,
    public: Annotated[
        bool, typer.Option("--public", help="Everybody may see it; otherwise it is private.")
    ] = False,
    settings: SettingsOption = None,
    watch: WatchFlag = None,
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Upload a package, or a trained model, to a repository of the Hugging Face Hub. Again: it goes on."""
    from tunesmith.cli.watching import followed

    choose(lang)
    with connect() as client:
        made = client.upload(task, repository, public=public, **pairs(settings))
        show_notices(made.notices)
        if as_json:
            show_json(made)
            return
        say(f"Task `{made.name}` is {made.state}: {made.id}")
        if is_followed(watch):
            raise typer.Exit(followed(client, made.id))
    typer.echo(made.id)


@contextlib.contextmanager
def _shown(name: str) -> Iterator[Callable[[int, int], None]]:
    """How far a download is, on a terminal."""
    if not talk().is_terminal:
        yield lambda done, total: None
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=talk(), transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def add_to(packages: typer.Typer) -> None:
    """Add the commands to those on packages."""
    packages.command("download")(download)
    packages.command("link")(link)
    packages.command("upload")(upload)
