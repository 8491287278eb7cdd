"""`tunesmith models pull` and `tunesmith checkpoints import`: what is brought onto this machine from elsewhere.

They join the other commands of their groups. Knows the state folder; the fetching itself is in `pull`, and a checkpoint
is read by a program of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

app = typer.Typer()
models = typer.Typer(no_args_is_help=True, help="Base models on this machine.")
app.add_typer(models, name="models")
checkpoints = typer.Typer(no_args_is_help=True, help="Checkpoints of other programs.")
app.add_typer(checkpoints, name="checkpoints")
_IMPORTING = "tunesmith_jobs.train.checkpoint.importing"
_PASSED_ON = ("PATH", "PYTHONPATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_IMPORT_SECONDS = 3600


@app.callback()
def _group() -> None:
    """Without this a lone group would be taken for the command itself."""


@models.command()
def pull(
    name: Annotated[str, typer.Argument(help="`owner/model` on the Hugging Face hub.", metavar="NAME")],
    revision: Annotated[
        str | None, typer.Option("--revision", help="A branch, a tag or a commit; else the newest.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="HF_TOKEN",
            show_envvar=True,
            help="For a private or gated model. Other users of this machine can read what stands in a command: rather "
            "set the variable.",
        ),
    ] = None,
    hub: Annotated[
        Literal["huggingface", "modelscope"],
        typer.Option("--from", help="The hub. `HF_ENDPOINT` names a mirror of Hugging Face's."),
    ] = "huggingface",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Fetch a base model into the models folder, ready to train."""
    from tunesmith.cli.output import out, say, show_json, talk
    from tunesmith.home import Home
    from tunesmith.language import tr
    from tunesmith_jobs.models.pull import Hub, Wish
    from tunesmith_jobs.models.pull import pull as fetch

    with talk().status(tr("Fetching the model")):
        folder = fetch(name, Home().models, say, Wish(Hub(hub), revision, token))
    if as_json:
        show_json({"name": folder.name, "folder": str(folder)})
    else:
        out().print(str(folder), soft_wrap=True)


@checkpoints.command("import")
def import_checkpoint(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="`checkpoint-<step>` that Hugging Face's Trainer wrote.")
    ],
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="FOLDER", help="The new checkpoint; `FOLDER-imported` if not given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Take up a checkpoint of Hugging Face's Trainer: weights, optimizer, schedule; nothing in it is run.

    A training goes on from it with `--resume-from-checkpoint`.
    """
    from tunesmith.cli.output import say, show_json
    from tunesmith.errors import InvalidInput

    source = folder.expanduser().absolute()
    target = (into.expanduser() if into else source.with_name(f"{source.name}-imported")).absolute()
    said = _imported(source, target)
    if "error" in said:
        raise InvalidInput(said["error"], hint=said.get("hint"), field="folder")
    if as_json:
        show_json(said)
        return
    say(f"Step {said['step']} is taken up. Not taken over:")
    for line in said["lost"]:
        say(f"- {line}")
    say(f"Go on with `tunesmith train --resume-from-checkpoint {target}`.")
    sys.stdout.write(f"{target}\n")


def _imported(source: Path, target: Path) -> dict[str, Any]:
    """What the program that reads the checkpoint says; it sees none of this process's secrets."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-m", _IMPORTING, str(source), str(target)],
            env=environment | {"HF_HUB_OFFLINE": "1"},
            capture_output=True,
            timeout=_IMPORT_SECONDS,
            check=False,
        )
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError, subprocess.TimeoutExpired):
        return {
            "error": f"`{source}` could not be read within its bounds of time and memory.",
            "hint": "Start from its weights (`attach_lora_path`, or `model_name_or_path`), with a new optimizer.",
        }
    return found
