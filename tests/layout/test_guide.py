"""Every command that the guide and the README show must exist with the flags it is shown with."""

import functools
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from guide_pages import ROOT, blocks
from typer.main import get_command

from tunesmith.cli.train import switches

PAGES = [ROOT / "README.md", *sorted((ROOT / "platform" / "guide").rglob("*.md"))]


def commands(page: Path) -> list[str]:
    """The lines of a page's plain blocks that call `tunesmith`, without what is said about them."""
    return [line for block in blocks(page) for line in block.commands]


@functools.cache
def root() -> Any:
    from tunesmith.cli.main import build_app

    return get_command(build_app())


def parse(line: str) -> None:
    """Walk to the command that a line names, and let it read the line's flags without running it."""
    command = root()
    words = switches(shlex.split(line)[1:])  # as the commands of parameters read them
    while (children := getattr(command, "commands", None)) and words and words[0] in children:
        command, words = children[words[0]], words[1:]
    assert not getattr(command, "commands", None), f"`{line}` names no command"
    options = {name: option for option in command.params for name in (*option.opts, *option.secondary_opts)}
    for word in words:
        if word.startswith("--"):
            assert word.split("=")[0] in options, f"`{line}`: there is no `{word}`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_every_command_of_the_guide_exists(page: Path) -> None:
    found = commands(page)
    assert found, "a page without a command teaches nobody to use it"
    for line in found:
        parse(line)


def test_both_languages_have_the_same_pages() -> None:
    names = [
        {path.name for path in (ROOT / "platform" / "guide" / language).glob("*.md")}
        for language in ("en", "zh")
    ]
    assert names[0] == names[1]


@pytest.mark.parametrize(
    "name", sorted(path.name for path in (ROOT / "platform" / "guide" / "en").glob("*.md"))
)
def test_both_languages_show_the_same_commands(name: str) -> None:
    """Line by line, but for the language that is asked for."""
    english, chinese = (commands(ROOT / "platform" / "guide" / language / name) for language in ("en", "zh"))
    assert [line.replace(" --lang zh", "") for line in chinese] == english
    pages = [blocks(ROOT / "platform" / "guide" / language / name) for language in ("en", "zh")]
    runs = [[bool(block.needs) for block in page if block.commands] for page in pages]
    assert runs[0] == runs[1], "what cannot be run is the same"


def test_every_command_that_a_message_names_exists() -> None:
    """A cure that is no command is none. What stands in braces is filled in later."""
    found: dict[str, str] = {}
    for folder in ("platform/tunesmith", "platform/tunesmith_platform", "jobs/tunesmith_jobs"):
        for file in (ROOT / folder).rglob("*.py"):
            text = re.sub(r'"\s*\n\s*f?"', "", file.read_text())  # a string that goes on in the next line
            found |= dict.fromkeys(re.findall(r"`(tunesmith [a-z]+ [^`|]+)`", text), file.name)
    assert len(found) > 50
    for line in found:
        if not line.endswith("..."):  # a whole family of commands
            parse(re.sub(r"\{[^}]*\}", "X", line).replace("'", ""))
