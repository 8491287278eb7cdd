"""The commands that the guide's pages and the README print."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Block(NamedTuple):
    """A block of a page."""

    commands: list[str]
    """Its lines that call `tunesmith`, without what is said about them."""
    needs: str
    """What it needs that a test does not have: the page says so in a comment before it."""


def blocks(page: Path) -> list[Block]:
    """The plain blocks of a page, in their order."""
    found = re.findall(
        r"(?:^<!-- guide: needs ([^>]*) -->\n)?^```\w*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
    )
    return [
        Block([line for line in map(bare, text.splitlines()) if re.match(r"tunesmith [a-z]", line)], needs)
        for needs, text in found
    ]


def bare(line: str) -> str:
    """A line without the remark behind it."""
    return line.split("  #", maxsplit=1)[0].strip()
