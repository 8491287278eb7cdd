"""`tunesmith packages list`, `pin`, `unpin`, `prune`: what packages take, which stay, which go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tunesmith.cli.arguments import JsonFlag, LanguageOption, TaskArgument, YesFlag, connect
from tunesmith.cli.format import local_time, plain
from tunesmith.cli.output import ask, say, show_json, show_table, table
from tunesmith.language import choose, tr
from tunesmith.model_folder import without_folders

if TYPE_CHECKING:
    from tunesmith.package_views import PackageSummary, PruneView


def list_packages(
    of: Annotated[
        str | None, typer.Option("--of", help="Only those of this training: its id or its name.")
    ] = None,
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List packages, the newest first: what each takes of the storage, which are pinned."""
    choose(lang)
    with connect() as client:
        found = list(client.packages(of))
    if as_json:
        show_json(found)
        return
    shown = table("task", "model", "project", "size", "files", "made", "state", numbers=["size", "files"])
    for one in found:
        shown.add_row(
            Text(plain(one.name)),
            Text(plain(without_folders(one.of))),
            Text(plain(one.project)),
            f"{one.bytes / 1e6:.1f} MB",
            str(one.files),
            local_time(one.created_at),
            _state(one),
        )
    show_table(shown)
    there = [one for one in found if one.removed_at is None]
    say(f"Packages: {len(there)}, {sum(one.bytes for one in there) / 1e9:.2f} GB.")


def _state(one: PackageSummary) -> str:
    return tr("removed" if one.removed_at else "pinned" if one.is_pinned else "there")


def pin(task: TaskArgument, lang: LanguageOption = None, as_json: JsonFlag = False) -> None:
    """Let a package stay, whatever its age."""
    _pin(task, as_json, lang, is_pinned=True)


def unpin(task: TaskArgument, lang: LanguageOption = None, as_json: JsonFlag = False) -> None:
    """Let a package go when the settings keep it no longer."""
    _pin(task, as_json, lang, is_pinned=False)


def _pin(task: str, as_json: bool, lang: LanguageOption, *, is_pinned: bool) -> None:
    choose(lang)
    with connect() as client:
        made = client.pin_package(client.task(task).id, is_pinned=is_pinned)
    if as_json:
        show_json(made)
    elif is_pinned:
        say(f"The package of `{made.name}` stays.")
    else:
        say(f"The package of `{made.name}` may go when it is kept no longer.")


def prune(
    keep: Annotated[
        int | None, typer.Option("--keep", min=0, help="So many of each model stay, the newest.")
    ] = None,
    days: Annotated[float | None, typer.Option("--days", min=0, help="Those stay that are no older.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which would go.")] = False,
    yes: YesFlag = False,
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Remove packages that are kept no longer. What stays is said by the settings where nothing is given."""
    choose(lang)
    with connect() as client:
        found = client.prune_packages(keep, days, dry_run=True)
        if not as_json:
            _show(found)
        going = sum(one.goes for one in found.packages)
        if going and not dry_run and (yes or as_json or ask("Remove them?")):
            found = client.prune_packages(keep, days, dry_run=False)
            if not as_json:
                say(f"Removed: {found.bytes / 1e6:.1f} MB.")
    if as_json:
        show_json(found)


def _show(found: PruneView) -> None:
    shown = table("task", "size", "becomes", "why", numbers=["size"])
    for one in found.packages:
        word = tr("goes" if one.goes else "stays")
        shown.add_row(Text(plain(one.name)), f"{one.bytes / 1e6:.1f} MB", word, Text(plain(one.why)))
    show_table(shown)
    going = [one for one in found.packages if one.goes]
    say(f"Packages that go: {len(going)} of {len(found.packages)}, {found.bytes / 1e6:.1f} MB.")


def add_to(packages: typer.Typer) -> None:
    """Add the commands to those on packages."""
    packages.command("list")(list_packages)
    packages.command("pin")(pin)
    packages.command("unpin")(unpin)
    packages.command("prune")(prune)
