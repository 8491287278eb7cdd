"""`tunesmith keys ...`: who may come in, with what role and where."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tunesmith.access import Role
from tunesmith.cli import completion
from tunesmith.cli.arguments import JsonFlag, connect
from tunesmith.cli.format import local_time, plain
from tunesmith.cli.output import out, say, show_json, show_table, table
from tunesmith.errors import InvalidInput
from tunesmith.language import tr

if TYPE_CHECKING:
    from tunesmith.access import KeyView

keys = typer.Typer(name="keys", help="API keys: make, list and revoke them.", no_args_is_help=True)

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


@keys.command()
def create(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Whose it is; your own if not given.")
    ] = None,
    role: Annotated[
        Role, typer.Option(help="A viewer reads, a member works in its projects, an admin does all.")
    ] = Role.MEMBER,
    project: Annotated[
        list[str] | None,
        typer.Option(
            help="Where it works; may be given again. `default`, or where your key works, if not given.",
            autocompletion=completion.projects,
        ),
    ] = None,
    all_projects: Annotated[
        bool, typer.Option("--all-projects", help="It works in every project, also those to come.")
    ] = False,
    expires: Annotated[
        str | None, typer.Option(help="When it ends: `90d`, `12h`, `2w`, or a date. Never if not given.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a key, and show its secret: it is shown here alone."""
    until = _until(expires) if expires else None
    with connect() as client:
        made = client.keys.make(
            name, role=role, projects=project, all_projects=all_projects, expires_at=until
        )
    if as_json:
        show_json(made)
        return
    key = made.key
    say(
        f"Key `{key.id}` of `{plain(key.name)}` is made, for the role {key.role}. `tunesmith keys revoke {key.id}` "
        "ends it."
    )
    say("Set it as `TUNESMITH_API_KEY`; keep it, it is not shown again:")
    out().print(made.secret)


@keys.command("list")
def list_keys(as_json: JsonFlag = False) -> None:
    """List keys, the newest first: everybody's for an administrator, else your own."""
    with connect() as client:
        found = list(client.keys.list())
    if as_json:
        show_json(found)
        return
    shown = table("key", "name", "role", "projects", "state", "used")
    for key in found:
        projects = tr("all") if key.projects is None else ", ".join(key.projects) or tr("none")
        used = local_time(key.used_at) if key.used_at else tr("never")
        shown.add_row(key.id, Text(plain(key.name)), key.role, Text(plain(projects)), _state(key), used)
    show_table(shown)


@keys.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id.")], as_json: JsonFlag = False
) -> None:
    """Let a key count no more, with the browsers that are signed in with it."""
    with connect() as client:
        view = client.keys.revoke(key)
    if as_json:
        show_json(view)
        return
    say(f"Key `{view.id}` of `{plain(view.name)}` counts no more.")


def _state(key: KeyView) -> str:
    if key.revoked_at is not None:
        return tr("revoked")
    if key.expires_at is None:
        return tr("counts")
    if key.expires_at <= dt.datetime.now(dt.UTC):
        return tr("expired")
    return tr(f"until {local_time(key.expires_at)}")


def _until(text: str) -> dt.datetime:
    """A moment that is said as a time from now, or as a date.

    Raises:
        InvalidInput: It is neither.
    """
    span = re.fullmatch(r"(\d{1,5})([hdw])", text)
    if span is not None:
        return dt.datetime.now(dt.UTC) + dt.timedelta(**{_UNITS[span[2]]: int(span[1])})
    return moment_of(text, "--expires", hint="Such as `90d`, `12h`, `2w` or `2027-03-31`.")


def moment_of(
    text: str, option: str, hint: str = "Such as `2027-03-31` or `2027-03-31T12:00`."
) -> dt.datetime:
    """A date, or a date and a time; where none is said, this machine's zone.

    Raises:
        InvalidInput: It is none.
    """
    try:
        return dt.datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise InvalidInput(f"`{text}` is no time.", field=option, hint=hint) from None


def add_to(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.add_typer(keys)
