"""The console script `tunesmith`: puts the commands together, and turns every failure into words and an exit code.

Exit codes: 0 done, 1 an error (or a failed task), 2 a wrong call, 3 a stopped task, 130 interrupted.
What a command needs is imported when it is named: the list of commands and a completion wait for nothing else.
"""

import importlib
import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

import tunesmith
from tunesmith.cli import plugins, shell
from tunesmith.cli.usage import prepare
from tunesmith.language import choose

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("train", "Train a model."),
    "estimate": (
        "estimate",
        "Say what a training run will take: steps, checkpoints, tokens, disk, memory, time. Starts nothing.",
    ),
    "tasks": ("tasks", "Look at tasks, stop and delete them. Without a command: list them."),
    "watch": ("tasks", "Follow a task until it has ended, or all live ones. Ctrl-C leaves them running."),
    "stop": ("tasks", "Stop tasks. A running one saves a checkpoint first."),
    "evaluate": (
        "evaluate",
        "Score a task's checkpoints by their answers to samples, and compare them with each other and the base.",
    ),
    "evaluations": ("evaluate", "Evaluations: what they found, reports, tables."),
    "package": (
        "package",
        "Write a task's model as GGUF files, read each back in llama.cpp, and compare it with the model.",
    ),
    "packages": ("package", "Packages: their files, what was proven of each, downloads."),
    "chat": (
        "chat",
        "Talk to a model: a base model, a training's, or any of its checkpoints, also while it trains.",
    ),
    "chats": ("chat", "Models that can be talked to, what is served, and the conversations that are kept."),
    "compare": ("compare", "Compare tasks: final scores, the parameters in which they differ, their curves."),
    "templates": ("templates", "Keep parameters under a name, for the tasks to come."),
    "run": (
        "pipelines",
        "Run a pipeline: data sets and trainers, tied together in YAML as model-compose writes it.",
    ),
    "pipelines": ("pipelines", "Pipelines: what `tunesmith run` began."),
    "checkpoints": ("checkpoints", "List, pin and unpin checkpoints."),
    "checkpoint": ("checkpoints", "Ask a running task for a checkpoint after its next step."),
    "parameters": ("parameters", "Explain the parameters of a training task."),
    "models": ("models", "Base models: list, check, add, pull."),
    "data": ("data", "Data sets, reports on files, rows under the microscope."),
    "samples": ("samples", "Samples of evaluations: show ours, check a file, add and remove."),
    "environment": (
        "environment",
        "Check the running platform: Ray, packages, GPU, storage, MLflow, disk, memory. Exits with 1 when one fails.",
    ),
    "mlflow": ("mlflow", "Make a link to MLflow. It lets one browser in, once, within a minute."),
    "quota": ("quota", "Training quotas: each saved checkpoint consumes one."),
    "keys": ("keys", "API keys: make, list and revoke them."),
    "audit": (
        "audit",
        "Show who did what to what: each call that changed something, the newest first. For administrators.",
    ),
    "projects": ("projects", "Projects: what is made in one is seen by those who work in it."),
    "webhooks": (
        "webhooks",
        "Webhooks: what happens to tasks is posted to them. For administrators.",
    ),
}
"""Each command at the top: the module that has it, and what the list of commands says of it."""
_SETTINGS = {"help_option_names": ["--help", "-h"]}


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"tunesmith {tunesmith.__version__}\n")
        raise typer.Exit


def _top(
    _version_flag: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Fine-tune language models on your own Ray cluster."""


class _Commands(TyperGroup):
    """The top level: lists commands by what is known of them, and imports the one that is named."""

    with_plugins = True

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """See `TyperGroup.resolve_command`."""
        if args and isinstance(self.commands.get(args[0]), _Known):
            self.commands[args[0]] = prepare(_load(args[0], self.with_plugins))
        return super().resolve_command(ctx, args)


class _Known(TyperCommand):
    """A command of which the list says what it is, before its module is imported."""


def _app(**settings: Any) -> typer.Typer:
    app = typer.Typer(
        name="tunesmith",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings=_SETTINGS,
        **settings,
    )
    app.callback()(_top)
    return app


def build_app(*, with_plugins: bool = True) -> typer.Typer:
    """The whole command line, with everything that its commands need imported.

    Args:
        with_plugins: Whether commands of the installed sibling packages join it.
    """
    app = _app()
    for module in dict.fromkeys(module for module, _ in COMMANDS.values()):
        importlib.import_module(f"tunesmith.cli.{module}").add_to(app)
    if with_plugins:
        plugins.add_to(app)
    return app


def _load(name: str, with_plugins: bool) -> Any:
    """A command at the top with everything that it needs imported."""
    part = typer.Typer(rich_markup_mode="rich", context_settings=_SETTINGS)
    part.callback()(_top)
    importlib.import_module(f"tunesmith.cli.{COMMANDS[name][0]}").add_to(part)
    if with_plugins:
        plugins.add_to(part)
    return get_command(part).commands[name]  # type: ignore[attr-defined]


def command_line(*, with_plugins: bool = True) -> Any:
    """The command line as it is run: a command's module is imported when the command is named."""
    top: Any = get_command(_app(cls=_Commands))
    top.with_plugins = with_plugins
    top.commands |= {name: _Known(name, help=said) for name, (_, said) in COMMANDS.items()}
    if with_plugins:
        theirs = typer.Typer(rich_markup_mode="rich", context_settings=_SETTINGS)
        theirs.callback()(_top)
        plugins.add_to(theirs)
        found: Any = get_command(theirs)
        top.commands |= {name: command for name, command in found.commands.items() if name not in COMMANDS}
    return prepare(top)


def run(args: list[str] | None = None) -> int:
    """Run a command line; nothing but its exit code comes out.

    Args:
        args: The arguments; those of the process when None.
    """
    choose(None)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a sign shows another
    try:
        code = command_line().main(args=args, prog_name="tunesmith", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except TyperException as error:
        return _show_usage(error)
    except typer.Abort:
        from tunesmith.cli.output import say

        say("Aborted.")
        return 130
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # What read our output left: not our failure, but Python would complain once more at exit.
        sys.stdout = None
        return 0
    except Exception as error:
        return _show_failure(error)


def _show_failure(error: Exception) -> int:
    from tunesmith.cli.output import show_bug, show_error
    from tunesmith.errors import TunesmithError

    if isinstance(error, TunesmithError):
        show_error(error)
    elif isinstance(error, ImportError):
        show_error(plugins.not_installed(plugins.wanting_package(error.__traceback__), error))
    else:
        show_bug(error)
    return 1


def _show_usage(error: TyperException) -> int:
    """Say what is wrong with the call. An empty message comes with a help text that was asked for by no arguments."""
    message = error.format_message().replace("Value error, ", "", 1)
    if type(error).__name__ == "NoArgsIsHelpError":
        if message:
            sys.stdout.write(message.rstrip("\n") + "\n")
        return 2
    from tunesmith.cli.output import show_usage

    context = getattr(error, "ctx", None)
    path = context.command_path if context else "tunesmith"
    wrong = getattr(error, "option_name", "")
    if hasattr(error, "possibilities"):
        from tunesmith.cli.suggestions import option_meant

        message = f"There is no option `{wrong}`."
        show_usage(message, path, option_meant(wrong, getattr(context, "command", None)))
    else:
        show_usage(message, path, None)
    return 2


def main() -> NoReturn:
    """The console script."""
    if shell.VARIABLE in os.environ and shell.complete():
        sys.exit(0)
    sys.exit(run())
