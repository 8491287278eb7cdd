"""`tunesmith models pull`: fetch base models onto this machine. It joins the other commands of `tunesmith models`.

Knows the state folder; the fetching itself is in `pull`.
"""

from typing import Annotated

import typer
from rich.console import Console

from tunesmith.errors import TunesmithError
from tunesmith.home import Home

app = typer.Typer()
models = typer.Typer(no_args_is_help=True, help="Base models on this machine.")
app.add_typer(models, name="models")


@app.callback()
def _group() -> None:
    """Without this a lone group would be taken for the command itself."""


@models.command()
def pull(
    name: Annotated[str, typer.Argument(help="`owner/model` on the Hugging Face hub.", metavar="NAME")],
) -> None:
    """Fetch a base model into the models folder, ready to train."""
    from tunesmith_jobs.models.pull import pull as fetch

    talk = Console(stderr=True)
    try:
        with talk.status("Fetching the model"):
            folder = fetch(name, Home().models, talk.print)
    except TunesmithError as error:
        talk.print(f"[red]error[/red]: {error.message}")
        if error.hint:
            talk.print(f"hint: {error.hint}")
        raise typer.Exit(1) from error
    Console().print(str(folder), soft_wrap=True)
