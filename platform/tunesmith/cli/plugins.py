"""Commands of the packages that are installed beside the client, found by entry point.

The CLI imports no sibling package by name: each value of the group `tunesmith.commands` is a Typer app whose
commands join the top level. One that cannot be imported shows as not available, with what to install.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer
from typer.models import TyperInfo

if TYPE_CHECKING:
    from tunesmith.errors import TunesmithError

GROUP = "tunesmith.commands"
EXTRAS = {
    "tunesmith_platform": "platform",
    "tunesmith_ui": "platform",
    "tunesmith_jobs": "jobs",
    "tunesmith_serve": "platform",
}
"""Which extra of the distribution brings what a package needs."""


def not_installed(package: str, error: ImportError) -> TunesmithError:
    """What to say when a package cannot import what it needs.

    Args:
        package: The top-level package that wanted it.
        error: What the import raised.
    """
    from tunesmith.errors import NotInstalled

    missing = f"`{error.name}` is not installed." if error.name else f"{error}."
    extra = EXTRAS.get(package)
    hint = f"`pip install 'tunesmith[{extra}]'`." if extra else f"Install what `{package}` needs."
    return NotInstalled(f"This command needs more than the client: {missing}", hint=hint)


def wanting_package(trace: TracebackType | None) -> str:
    """The package of ours in which an import failed: the innermost one on the traceback."""
    found = "tunesmith"
    while trace is not None:
        top = str(trace.tb_frame.f_globals.get("__name__", "")).split(".")[0]
        found = top if top in EXTRAS else found
        trace = trace.tb_next
    return found


def add_to(app: typer.Typer, found: Iterable[EntryPoint] | None = None) -> None:
    """Add what is installed to an app.

    Args:
        app: The top level.
        found: The entry points; those of the environment when None.
    """
    for point in sorted(entry_points(group=GROUP) if found is None else found, key=lambda item: item.name):
        try:
            commands = point.load()
        except ImportError as error:
            _add_absent(app, point.name, not_installed(point.module.split(".")[0], error))
        except Exception as error:
            from tunesmith.errors import NotInstalled

            # Whatever is wrong with one package, the commands of the others stay usable.
            broken = NotInstalled(f"`{point.module}` cannot be loaded: {type(error).__name__}: {error}.")
            _add_absent(app, point.name, broken)
        else:
            # As `add_typer` without a name does, which would grumble at an app with a callback.
            app.registered_commands += commands.registered_commands
            for group in commands.registered_groups:
                _add_group(app, group)


def _add_group(app: typer.Typer, group: TyperInfo) -> None:
    """Add a group; one that is there already gets its commands, so that a noun's commands may lie in two packages."""
    mine = next((known for known in app.registered_groups if _name(known) == _name(group)), None)
    if mine is None or mine.typer_instance is None or group.typer_instance is None:
        app.registered_groups.append(group)
        return
    mine.typer_instance.registered_commands += group.typer_instance.registered_commands


def _name(group: TyperInfo) -> str | None:
    """A group's name, wherever it was given."""
    inner = group.typer_instance.info.name if group.typer_instance else None
    return next((name for name in (group.name, inner) if isinstance(name, str)), None)


def _add_absent(app: typer.Typer, name: str, failure: TunesmithError) -> None:
    def absent(_context: typer.Context) -> None:
        raise failure

    settings: dict[str, Any] = {"ignore_unknown_options": True, "allow_extra_args": True}
    why = (failure.hint or failure.message).replace("[", "\\[")
    app.command(name, help=f"Not available: {why}", context_settings=settings)(absent)
