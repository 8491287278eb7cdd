"""`tunesmith mlflow`: the way into MLflow, for a browser by a one-time link and for programs by its token."""

import shlex
import webbrowser
from typing import Annotated

import typer

from tunesmith.cli import completion
from tunesmith.cli.arguments import JsonFlag, connect
from tunesmith.cli.output import out, say, show_json
from tunesmith.errors import CannotConnect


def mlflow(
    task: Annotated[
        str | None,
        typer.Argument(
            metavar="[TASK]",
            help="The task whose run is shown; MLflow's first page if not given.",
            autocompletion=completion.tasks,
        ),
    ] = None,
    browser: Annotated[bool, typer.Option("--open", help="Open it in this machine's browser.")] = False,
    export: Annotated[
        bool,
        typer.Option(
            help='Print what MLflow\'s own clients need instead: `eval "$(tunesmith mlflow --export)"`.'
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a link to MLflow. It lets one browser in, once, within a minute."""
    if export:
        if as_json:
            show_json(_for_clients())
            return
        for name, value in _for_clients().items():
            typer.echo(f"export {name}={shlex.quote(value)}")
        return
    with connect() as client:
        link = client.mlflow_link(task)
    if as_json:
        show_json(link)
    else:
        out().print(link.url, soft_wrap=True)
        if link.valid_seconds is not None:
            say(f"It counts once, for {link.valid_seconds} s; the browser then stays let in for some hours.")
    if browser:
        webbrowser.open(link.url)


def _for_clients() -> dict[str, str]:
    """The variables by which MLflow's own clients find the state folder's MLflow, and prove who they are.

    The token is read here and goes nowhere: only the state folder's owner has it.
    """
    from tunesmith.home import Home
    from tunesmith.job import read_secret

    home = Home()
    url = home.connection().mlflow_url
    try:
        token = read_secret(home.mlflow_token_file)
    except OSError as error:
        raise CannotConnect(
            f"There is no MLflow token in `{home.root}`.", hint="`tunesmith up` makes it."
        ) from error
    return {"MLFLOW_TRACKING_URI": url or "", "MLFLOW_TRACKING_TOKEN": token}


def add_to(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(mlflow)
