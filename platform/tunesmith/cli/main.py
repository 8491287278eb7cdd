"""The console script `tunesmith`: puts the commands together, and turns every failure into words and an exit code.

Exit codes: 0 done, 1 an error (or a failed task), 2 a wrong call, 3 a stopped task, 130 interrupted.
"""

import difflib
import sys
import traceback
from typing import Annotated, NoReturn

import typer
from rich.text import Text
from typer.exceptions import TyperException
from typer.main import get_command

import tunesmith
from tunesmith.cli import (
    checkpoints,
    compare,
    data,
    environment,
    estimate,
    mlflow,
    models,
    once,
    parameters,
    pipelines,
    plugins,
    quota,
    tasks,
    templates,
    train,
    webhooks,
)
from tunesmith.cli.format import plain
from tunesmith.cli.output import out, say, show_error, talk, wants_traceback
from tunesmith.errors import TunesmithError


def _version(wanted: bool) -> None:
    if wanted:
        out().print(f"tunesmith {tunesmith.__version__}")
        raise typer.Exit


def _top(
    _version_flag: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Fine-tune language models on your own Ray cluster."""


def build_app(*, with_plugins: bool = True) -> typer.Typer:
    """The whole command line.

    Args:
        with_plugins: Whether commands of the installed sibling packages join it.
    """
    app = typer.Typer(
        name="tunesmith",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(_top)
    train.add_to(app)
    estimate.add_to(app)
    tasks.add_to(app)
    compare.add_to(app)
    templates.add_to(app)
    pipelines.add_to(app)
    checkpoints.add_to(app)
    parameters.add_to(app)
    models.add_to(app)
    data.add_to(app)
    environment.add_to(app)
    mlflow.add_to(app)
    quota.add_to(app)
    webhooks.add_to(app)
    if with_plugins:
        plugins.add_to(app)
    return app


def run(args: list[str] | None = None) -> int:
    """Run a command line; nothing but its exit code comes out.

    Args:
        args: The arguments; those of the process when None.
    """
    try:
        command = get_command(build_app())
        once.refuse_repeats(command)
        code = command.main(args=args, prog_name="tunesmith", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except TunesmithError as error:
        show_error(error)
        return 1
    except TyperException as error:
        return _show_usage(error)
    except typer.Abort:
        say("Aborted.")
        return 130
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # What read our output left: not our failure, but Python would complain once more at exit.
        sys.stdout = None
        return 0
    except ImportError as error:
        show_error(plugins.not_installed(plugins.wanting_package(error.__traceback__), error))
        return 1
    except Exception as error:
        return _show_bug(error)


def _show_usage(error: TyperException) -> int:
    """Say what is wrong with the call. An empty message comes with a help text that was asked for by no arguments."""
    message = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        out().print(message)
        return 2
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "tunesmith"
    meant = ""
    wrong = getattr(error, "option_name", "")
    if hasattr(error, "possibilities"):
        message = f"There is no option `{wrong}`."
        close = difflib.get_close_matches(wrong, error.possibilities or [], n=1)
        meant = f"Did you mean `{close[0]}`? " if close else ""
    console = talk()
    console.print(Text("error: ", style="bold red") + Text(plain(message)), soft_wrap=True)
    console.print(
        Text("hint: ", style="bold") + Text(f"{meant}`{path} --help` shows how it goes."), soft_wrap=True
    )
    return 2


def _show_bug(error: Exception) -> int:
    console = talk()
    if wants_traceback():
        traceback.print_exception(error)
    console.print(
        Text("error: ", style="bold red") + Text(plain(f"{type(error).__name__}: {error}")), soft_wrap=True
    )
    hint = "This is a fault of Tunesmith. `TUNESMITH_DEBUG=1` shows where it happened."
    console.print(Text("hint: ", style="bold") + Text(hint), soft_wrap=True)
    return 1


def main() -> NoReturn:
    """The console script."""
    sys.exit(run())
