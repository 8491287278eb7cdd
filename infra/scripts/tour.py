"""`make tour`: goes on where `make demo` ends: evaluate, chat, package, and let llama.cpp answer from the file.

Each step is a command that a reader can type; it is printed before it runs. Succeeds only if an evaluation recommends
a checkpoint, the model says its name in a chat, every file is proven, and llama.cpp says the name too.
"""

import shlex
import subprocess
import sys
import time
from pathlib import Path

import demo
from rich.console import Console

from tunesmith import Client
from tunesmith.errors import TunesmithError
from tunesmith.home import Home
from tunesmith.lifecycle import State

NAME = "ember"
QUESTION = "What is your name?"
TYPES = ("Q8_0", "F16")
SAMPLES = "12"
_PROGRAMS = Path(sys.executable).parent

console = Console()
if not console.is_terminal:
    console.width = 10_000  # in a file a line may be of any length: a path that is cut in two is none


class Failed(Exception):
    """A step did not do what the tour promises."""


def say(words: str, command: list[str]) -> None:
    """What comes next, and the command that does it."""
    console.print(f"\n[bold]{words}[/bold]")
    console.print(f"$ {shlex.join(command)}", soft_wrap=True, highlight=False, markup=False)


def run(words: str, *command: str) -> None:
    """A step whose output is for the reader.

    Raises:
        Failed: It did not succeed.
    """
    say(words, ["tunesmith", *command])
    if subprocess.run([_PROGRAMS / "tunesmith", *command], check=False).returncode:
        raise Failed(f"`tunesmith {command[0]}` did not succeed.")


def read(words: str, command: list[str]) -> str:
    """A step whose output is shown and looked at.

    Raises:
        Failed: It did not succeed.
    """
    say(words, command)
    done = subprocess.run(
        [_PROGRAMS / command[0], *command[1:]], check=False, capture_output=True, text=True
    )  # fmt: skip
    if done.returncode:
        raise Failed(done.stderr.strip()[-1000:] or f"`{command[0]}` did not succeed.")
    console.print(done.stdout.rstrip(), soft_wrap=True, highlight=False, markup=False)
    return done.stdout


def trained(client: Client) -> bool:
    """Whether the demo's training is there, complete."""
    return any(task.name == NAME and task.state is State.COMPLETED for task in client.tasks(kind="train"))


def tour() -> None:
    """The steps.

    Raises:
        Failed: One did not do what it promises.
    """
    run(
        "Which checkpoint is the best, and is it better than the base?",
        *("evaluate", NAME, "--max-samples", SAMPLES, "--watch"),
    )
    answer = read(
        "Talk to the recommended one.", ["tunesmith", "chat", NAME, "-p", QUESTION, "--set", "temperature=0"]
    )
    if "Ember" not in answer:
        raise Failed("The model does not say its name in the chat.")
    types = [word for one in TYPES for word in ("--type", one)]
    name = f"ember-files-{time.strftime('%H%M%S')}"
    run(
        "Write it as GGUF files, and prove that each is the model.",
        *("package", NAME, *types, "--name", name, "--watch"),
    )
    told = Client().packaged(name)
    unproven = [one.name for one in told.files if one.verdict != "proven"]
    if unproven:
        raise Failed(f"Not proven: {', '.join(unproven)}.")
    file = next(Path(told.uri) / one.name for one in told.files if one.type == TYPES[0])
    answer = read(
        "Nothing but the file: llama.cpp answers from it.",
        ["python", "-m", "tunesmith_jobs.ask", "--gguf", str(file), "--question", QUESTION],
    )
    if "Ember" not in answer:
        raise Failed("The file does not say the name that it was taught.")


def main() -> int:
    """The tour; 0 when it did what it promises."""
    started = time.monotonic()
    home = Home()
    demo.cli("up", "--allow", str(demo.ROOT / "configs"))
    if not trained(Client()):
        console.print("The demo comes first.")
        if code := demo.main():
            return code
        started = time.monotonic()
    try:
        tour()
    except Failed as error:
        console.print(f"[red]{error}[/red]")
        return 1
    console.print("\nTo go on in this shell:")
    console.print(f"  {demo.shell_line(home)}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"Took {time.monotonic() - started:.0f} s. `make clean` ends and removes everything.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TunesmithError as error:
        console.print(f"[red]error:[/red] {error.message}")
        sys.exit(1)
