"""Answers a shell's tab from an index of the command line, without importing what any command needs.

The index `shell.json` lies beside this module; `make reference` writes it from the commands, and a test keeps it fresh.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunesmith.cli import completion
from tunesmith.language import current, tr

INDEX = Path(__file__).with_suffix(".json")
VARIABLE = "_TUNESMITH_COMPLETE"
"""What the script that a shell sources sets when it asks."""
Offer = tuple[str, str]
"""A word, and what it means."""


def index_of(command: Any, labels: dict[str, dict[str, str]]) -> dict[str, Any]:
    """What a shell has to know of a command and those below it.

    Args:
        command: As `typer.main.get_command` makes it.
        labels: The names of training parameters in each language, by flag.
    """
    options, arguments = [], []
    for item in command.params:
        if getattr(item, "hidden", False):
            continue
        known: dict[str, Any] = {"offers": _offers_of(item)}
        if item.param_type_name == "argument":
            arguments.append(known | {"many": item.nargs == -1})
            continue
        names = [name for name in (*item.opts, *item.secondary_opts) if name.startswith("--")]
        known |= {"names": names, "value": not item.is_flag}
        known["help"] = labels.get(names[0]) or {"en": (item.help or "").split("\n\n")[0].replace("\\[", "[")}
        options.append(known)
    below = {name: index_of(inner, labels) for name, inner in getattr(command, "commands", {}).items()}
    said = " ".join((command.help or "").split("\n\n")[0].split())
    return {"help": {"en": said}, "options": options, "arguments": arguments, "commands": below}


def _offers_of(parameter: Any) -> list[str]:
    """The words that are offered for a parameter; `@tasks` stands for the platform's tasks."""
    with completion.named():
        found = parameter.shell_complete(None, "")
    return [str(item.value) for item in found if item.type == "plain"]


def offered(words: list[str], incomplete: str, command: dict[str, Any]) -> Iterator[Offer]:
    """What may stand behind some words.

    Args:
        words: Those that are complete.
        incomplete: The one that is begun.
        command: The command that the first of them is given to.
    """
    taken, awaiting = 0, None
    for word in words:
        if awaiting is not None:
            awaiting = None
        elif word.startswith("-"):
            option = _option(command, word)
            awaiting = option if option and option["value"] and "=" not in word else None
        elif word in command["commands"]:
            command, taken = command["commands"][word], 0
        else:
            taken += 1
    if awaiting is not None:
        yield from _values(awaiting["offers"], incomplete)
    elif incomplete.startswith("-"):
        names = [(name, option["help"]) for option in command["options"] for name in option["names"]]
        yield from _beginning(names, incomplete)
    elif command["commands"]:
        yield from _beginning(
            [(name, inner["help"]) for name, inner in command["commands"].items()], incomplete
        )
    else:
        arguments = command["arguments"]
        last = arguments[-1:] if arguments and arguments[-1]["many"] else []
        for argument in (arguments[taken:] or last)[:1]:
            yield from _values(argument["offers"], incomplete)


def _beginning(names: list[tuple[str, dict[str, str]]], incomplete: str) -> Iterator[Offer]:
    return ((name, _said(said)) for name, said in names if name.startswith(incomplete))


def _option(command: dict[str, Any], word: str) -> dict[str, Any] | None:
    name = word.split("=", maxsplit=1)[0].replace("_", "-")
    return next((option for option in command["options"] if name in option["names"]), None)


def _values(offers: list[str], incomplete: str) -> Iterator[Offer]:
    for offer in offers:
        found = completion.OFFERS[offer](incomplete) if offer in completion.OFFERS else [offer]
        yield from ((value, "") for value in found if value.startswith(incomplete))


def _said(text: dict[str, str]) -> str:
    language = current()
    return text.get(language) or tr(text["en"])


def complete() -> bool:
    """Answer a shell that asks; whether one did whom the index can answer."""
    instruction = os.environ.get(VARIABLE, "")
    if not instruction.startswith("complete_") or not INDEX.is_file():
        return False
    from typer._click.shell_completion import CompletionItem, get_completion_class
    from typer._completion_classes import completion_init

    completion_init()
    kind: Any = get_completion_class(instruction.removeprefix("complete_"))
    index = json.loads(INDEX.read_bytes())
    if kind is None:
        return False
    asked = kind(None, {}, "tunesmith", VARIABLE)
    words, _ = asked.get_completion_args()
    if words and not words[0].startswith("-") and words[0] not in index["commands"]:
        return False  # another package's, which only its own code knows

    def completions(words: list[str], incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word, help=said) for word, said in offered(words, incomplete, index)]

    asked.get_completions = completions
    sys.stdout.write(asked.complete() + "\n")
    return True
