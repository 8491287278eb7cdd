"""`tunesmith audit`: who did what to what, as a table, as CSV, as JSON."""

from __future__ import annotations

import csv
import itertools
import sys
from typing import Annotated

import typer
from rich.text import Text

from tunesmith.cli.arguments import JsonFlag, connect
from tunesmith.cli.format import local_time, plain
from tunesmith.cli.keys import moment_of
from tunesmith.cli.output import say, show_json, show_table, table
from tunesmith.errors import InvalidInput


def audit(  # noqa: PLR0917 - options
    who: Annotated[str | None, typer.Option(help="Only what this name did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this operation, such as `stop_task`.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only what was done to this: an id or a name.")] = None,
    since: Annotated[str | None, typer.Option(help="Only from this date and time on.")] = None,
    until: Annotated[str | None, typer.Option(help="Only before this date and time.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Entries of the table at the most.")] = 50,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all of them as CSV.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show who did what to what: each call that changed something, the newest first. For administrators."""
    if as_csv and as_json:
        raise InvalidInput(
            "`--csv` and `--json` exclude each other.", field="--csv", hint="Give one of them."
        )
    with connect() as client:
        found = client.audit.list(
            who=who,
            action=action,
            subject=subject,
            since=moment_of(since, "--since") if since else None,
            until=moment_of(until, "--until") if until else None,
        )
        entries = list(found if as_csv or as_json else itertools.islice(found, limit + 1))
    if as_json:
        show_json(entries)
        return
    if as_csv:
        names = ("id", "time", "who", "role", "key_id", "action", "subject", "request_id", "address")
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow(names)
        for entry in entries:
            shown = entry.model_dump(mode="json")
            rows.writerow([_harmless(str(shown[name])) for name in names])
        return
    listed = table("time", "who", "action", "what", "from")
    for entry in entries[:limit]:
        listed.add_row(
            local_time(entry.time),
            Text(plain(entry.who)),
            entry.action,
            Text(plain(entry.subject)),
            Text(plain(entry.address)),
        )
    show_table(listed)
    if len(entries) > limit:
        say(f"There are more; `--limit {limit * 2}` shows them, `--csv` all.")


def _harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula: names are chosen by users."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def add_to(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(audit)
