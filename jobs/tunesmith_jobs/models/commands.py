"""`tunesmith models`: fetch base models onto this machine and list those that are here.

Knows the state folder; the fetching itself is in `pull`.
"""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

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


@models.command("list")
def list_models() -> None:
    """List the models in the models folder."""
    from tunesmith.model_folder import check_model_folder

    folder = Home().models
    table = Table("name", "type", "parameters", "context", "size")
    found = (
        sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    )
    for path in found:
        try:
            facts = check_model_folder(path)
        except TunesmithError as error:
            table.add_row(path.name, f"not usable: {error.message}")
        else:
            table.add_row(
                path.name,
                facts.model_type,
                f"{facts.parameters / 1e6:.0f} M",
                str(facts.context_length or ""),
                f"{facts.bytes / 2**20:.0f} MiB",
            )
    Console().print(table)
    if not found:
        Console(stderr=True).print(
            "hint: `tunesmith models pull HuggingFaceTB/SmolLM2-135M-Instruct` fetches one."
        )
