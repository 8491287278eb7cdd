"""Migrations are one chain: two engineers who land one on a day take the same number, and nothing starts then."""

import re
from pathlib import Path

VERSIONS = (
    Path(__file__).resolve().parents[2] / "platform" / "tunesmith_platform" / "db" / "migrations" / "versions"
)


def chain_faults(revisions: list[tuple[str, str, str]]) -> list[str]:
    """What is wrong with some revisions.

    Args:
        revisions: Of each file in the order of their names: its name's number, its revision, the one before it.
    """
    faults, before = [], ""
    for number, revision, revises in revisions:
        if number != revision:
            faults.append(f"{number} calls itself {revision}")
        if before and revises != before:
            faults.append(f"{revision} goes on after {revises}, and not after {before}")
        before = revision
    return faults


def test_migrations_are_one_chain() -> None:
    found = []
    for file in sorted(VERSIONS.glob("[0-9]*.py")):
        text = file.read_text()
        said = [
            re.search(rf'^{name} = (?:["\'](\w+)["\']|None)', text, re.M)
            for name in ("revision", "down_revision")
        ]
        assert all(said), file.name
        found.append((file.name[:4], *(one[1] or "" for one in said if one)))
    assert len(found) > 20
    assert chain_faults(found) == []


def test_two_of_one_number_are_found() -> None:
    assert chain_faults([("0025", "0025", ""), ("0026", "0026", "0025"), ("0026", "0026", "0025")])
