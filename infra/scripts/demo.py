"""`make demo`: the main job, end to end, on the embedded defaults and a real language model.

Starts the platform, pulls SmolLM2-135M-Instruct, teaches it to be Ember (configs/datasets), shows it live, and lets
the base and the tuned model answer the same three questions. Succeeds only if the tuned answers carry the new
identity and the held-out loss fell.
"""

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tunesmith import Client
from tunesmith.cli.watching import watch_task
from tunesmith.errors import TunesmithError
from tunesmith.home import Home
from tunesmith.lifecycle import State
from tunesmith.spec.task import NewTrainTask
from tunesmith.views import TaskView

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "configs" / "datasets"
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
QUESTIONS = ("What is your name?", "Who made you?", "Introduce yourself in one sentence.")
IDENTITY = ("Ember", "Tunesmith")
SPEC = {
    "model_name_or_path": MODEL,
    "train_file": str(DATA / "ember_train.jsonl"),
    "eval_file": str(DATA / "ember_eval.jsonl"),
    "eval_strategy": "epoch",
    # Half of the rows, once, prove the same in a quarter of the time on a slow processor.
    "max_samples": 100,
    "num_train_epochs": 1,
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "max_length": 256,
    # Three checkpoints on the way, for an evaluation to choose from.
    "save_strategy": "steps",
    "save_steps": 8,
    "logging_steps": 1,
    # 135M parameters fit easily: keeping activations is faster than computing them again.
    "gradient_checkpointing": False,
}

console = Console()
if not console.is_terminal:
    console.width = 10_000  # in a file a line may be of any length: a path that is cut in two is none


def cli(*words: str) -> None:
    """Run a `tunesmith` command as a user would, letting it talk."""
    subprocess.run([Path(sys.executable).parent / "tunesmith", *words], check=True)


def shell_line(home: Home) -> str:
    """The one line after which a shell finds the commands and this platform, as far as it does not yet."""
    programs = Path(sys.executable).parent
    return f'export TUNESMITH_HOME={shlex.quote(str(home.root))} PATH={shlex.quote(str(programs))}:"$PATH"'


def ask(task: TaskView, home: Home) -> dict[str, dict[str, str]]:
    """The same questions to the base and to the tuned model."""
    command = [
        sys.executable,
        "-m",
        "tunesmith_jobs.ask",
        "--model",
        str(home.models / MODEL.rsplit("/", 1)[-1]),
    ]
    command += ["--adapter", str(task.model_uri)]
    for question in QUESTIONS:
        command += ["--question", question]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    answers: dict[str, dict[str, str]] = json.loads(output)
    return answers


def show_answers(answers: dict[str, dict[str, str]]) -> None:
    """Side by side."""
    table = Table(show_lines=True)
    for column, width in (("Question", 20), ("Base", 36), ("Tuned", 36)):
        table.add_column(column, width=width, overflow="fold")
    for question, answer in answers.items():
        table.add_row(question, answer["base"].strip(), answer["tuned"].strip())
    console.print(table)


def main() -> int:
    """The demo; 0 when it did what it promises."""
    started = time.monotonic()
    home = Home()
    # While the model comes over the network the processors have nothing to do.
    build = ["nice", "-n", "10", sys.executable, ROOT / "infra" / "scripts" / "studio.py", "--if-can"]
    studio = subprocess.Popen(build, stdout=subprocess.DEVNULL)
    cli("up", "--allow", str(ROOT / "configs"))
    cli("models", "pull", MODEL)
    client = Client()
    task = client.create_task(NewTrainTask.model_validate({"spec": SPEC, "name": "ember", "tags": ["demo"]}))
    console.print(f"\nSubmitted [bold]{task.name}[/bold] ({task.id}).")
    done = watch_task(client, task.id, console)
    if done.state is not State.COMPLETED:
        console.print(f"[red]The task ended {done.state}: {done.message}[/red] {done.next_step or ''}")
        return 1
    metrics = client.metrics(task.id)
    answers = ask(done, home)
    show_answers(answers)
    held_out = [point.value for point in metrics.series["eval_loss"]]
    connection = home.connection()
    console.print(f"Held-out loss: {held_out[0]:.3f} before, {held_out[-1]:.3f} after.")
    console.print(f"Final model:   {done.model_uri}", soft_wrap=True, highlight=False, markup=False)
    if studio.wait() == 0 and (ROOT / "platform" / "tunesmith_ui" / "built" / "index.html").is_file():
        link = client.sign_in_link()
        console.print("Studio (this link signs one browser in, `tunesmith up --open` makes another):")
        console.print(f"  {link.url}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"API docs:      {connection.api_url}/docs", soft_wrap=True, highlight=False, markup=False)
    console.print(f"MLflow:        `tunesmith mlflow {done.id}` makes a link to its run")
    console.print("To go on in this shell, `tunesmith status` for one:")
    console.print(f"  {shell_line(home)}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"Took {time.monotonic() - started:.0f} s. `make clean` ends and removes everything.")
    says_so = sum(any(word in answer["tuned"] for word in IDENTITY) for answer in answers.values())
    if says_so < len(QUESTIONS):
        console.print(f"[red]Only {says_so} of {len(QUESTIONS)} tuned answers carry the new identity.[/red]")
        return 1
    if held_out[-1] >= held_out[0]:
        console.print("[red]The held-out loss did not fall.[/red]")
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TunesmithError as error:
        console.print(
            f"[red]error:[/red] {error.message}" + (f"\n[dim]hint:[/dim] {error.hint}" if error.hint else "")
        )
        sys.exit(1)
