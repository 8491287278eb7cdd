"""`tunesmith admin ...`: what is done to a platform as a whole, on a machine that reaches its database and storage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tunesmith_platform.admin.restore import Restored
    from tunesmith_platform.db.engine import Database
    from tunesmith_platform.settings import Settings

admin = typer.Typer(
    name="admin",
    help="Look after the platform as a whole: backup, restore, what is left over. For who runs it, where its database "
    "is reached.",
    no_args_is_help=True,
)
_JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
_NAMED = 20
"""How many of those that are not there are named."""


@contextmanager
def _platform(*, is_made: bool = False) -> Iterator[tuple[Settings, Database]]:
    """The settings and the database of the platform that the environment names.

    Args:
        is_made: Whether what is not there is made; else its absence is told.
    """
    from tunesmith_platform.db import schema
    from tunesmith_platform.db.engine import Database
    from tunesmith_platform.settings import Settings

    settings = Settings()
    if is_made:
        from tunesmith.home import Home
        from tunesmith_platform.embedded.starting import make_home

        make_home(Home(settings.home))
    database = Database(settings.database_url)
    try:
        schema.require_place(database, is_made=is_made)
        yield settings, database
    finally:
        database.close()


@admin.command()
def backup(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|DIR", help="Where to: a new file, or a folder in which one gets this moment's name."
        ),
    ],
    as_json: _JsonFlag = False,
) -> None:
    """Write the database and a list of what the storage holds into one file. The platform may run meanwhile.

    The files of the storage are not in it, nor any secret of the state folder: copy the storage by its own means.
    """
    from tunesmith.cli.format import size
    from tunesmith.cli.output import facts, out, say, show_json
    from tunesmith_platform.admin.backup import back_up, target_of
    from tunesmith_platform.clock import now

    begun = time.monotonic()
    target = target_of(file, now())
    with _platform() as (settings, database):
        summary = back_up(database, settings, target)
    written = target.stat().st_size
    if as_json:
        show_json({"file": str(target), "bytes": written, **summary.model_dump(mode="json")})
        return
    out().print(
        facts(
            [
                ("file", str(target)),
                ("size", size(written)),
                ("rows", f"{summary.rows:,}"),
                ("schema", summary.revision),
                (
                    "storage",
                    f"{summary.stored_entries} ({size(summary.stored_bytes)}), {summary.storage_uri}",
                ),
                ("under way", f"{len(summary.under_way)}"),
            ]
        )
    )
    say(f"Written in {time.monotonic() - begun:.1f} s. The storage's own files are not in it.")


@admin.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
    as_json: _JsonFlag = False,
) -> None:
    """Put a backup into an empty database, before the platform is started on it.

    What was under way when it was made is stopped: it may have gone on where it ran. `tunesmith tasks continue` goes on
    with a task, in an attempt that no other is taken for.
    """
    from tunesmith.cli.output import show_json
    from tunesmith.errors import Conflict
    from tunesmith.home import Home
    from tunesmith_platform.admin.restore import restore as put_back
    from tunesmith_platform.embedded.processes import running_supervisor
    from tunesmith_platform.embedded.starting import allow_folders

    with _platform(is_made=True) as (settings, database):
        home = Home(settings.home)
        if running_supervisor(home) is not None:
            raise Conflict(f"The platform of `{home.root}` is up.", hint="End it first: `tunesmith down`.")
        done = put_back(database, settings, file)
        allow_folders(home, [Path(root) for root in done.allowed])
    if as_json:
        show_json(done)
    else:
        _show_restored(done)


def _show_restored(done: Restored) -> None:
    from rich.text import Text

    from tunesmith.cli.format import local_time
    from tunesmith.cli.output import facts, out, say, show_table, table, warn
    from tunesmith.language import tr

    summary = done.summary
    out().print(
        facts(
            [
                ("backup of", f"{local_time(summary.taken_at)}, {summary.home}"),
                ("rows", f"{summary.rows:,}"),
                (
                    "storage",
                    ", ".join(f"{tr(name)} {count}" for name, count in done.stored.counts.items() if count),
                ),
                ("allowed", ", ".join(done.allowed)),
            ]
        )
    )
    if done.mlflow == "stayed":
        say("MLflow's database was there already, and is left as it is.")
    if done.stopped:
        say(
            f"{len(done.stopped)} tasks were under way and are stopped; their attempts go on at "
            f"{done.attempt_floor + 1}. `tunesmith tasks continue TASK` goes on with one."
        )
    if done.stored.not_there:
        warn(f"{len(done.stored.not_there)} things are not in the storage as they were recorded:")
        shown = table("found", "what", "of", "uri")
        for found, entry in done.stored.not_there[:_NAMED]:
            shown.add_row(tr(found.value), tr(entry.what), Text(entry.of), Text(entry.uri))
        show_table(shown)
    say("Start it with `tunesmith up`, or its servers and its controller.")


@admin.command()
def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")
    ] = False,
    as_json: _JsonFlag = False,
) -> None:
    """Remove what crashes and cut-off deletions left: folders of deleted tasks, uploads of nobody, old logs of Ray.

    What is not proven to be this platform's stays.
    """
    from rich.text import Text

    from tunesmith.cli.format import size
    from tunesmith.cli.output import say, show_json, show_table, table
    from tunesmith.home import Home
    from tunesmith.language import tr
    from tunesmith_platform.admin.garbage import collector
    from tunesmith_platform.db import schema
    from tunesmith_platform.embedded.parts import ray_folder

    with _platform() as (settings, database):
        schema.require(database)
        looking = collector(database, settings, ray_folder(Home(settings.home)))
        found = looking.find()
        gone = [] if dry_run else [one for one in found if looking.remove(one)]
    if as_json:
        show_json({"found": [one.model_dump() for one in found], "removed": [one.path for one in gone]})
        return
    if not found:
        say("Nothing is left over.")
        return
    shown = table("what", "size", "path", "why it is ours", numbers=("size",))
    for one in found:
        shown.add_row(tr(one.what), size(one.bytes), Text(one.path), tr(one.why))
    show_table(shown)
    total = size(sum(one.bytes for one in (found if dry_run else gone)))
    if dry_run:
        say(f"{len(found)} things would go, {total}. Without `--dry-run` they do.")
    else:
        say(f"{len(gone)} of {len(found)} things are gone, {total}.")
