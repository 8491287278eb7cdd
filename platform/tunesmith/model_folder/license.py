"""The license that a model comes with, as far as its files name it."""

import contextlib
from pathlib import Path
from typing import Any

import yaml

_LICENSE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "license.txt", "COPYING")
_LICENSE_CHARACTERS = 20_000
_FRONT_MATTER_CHARACTERS = 65_536


def license_text(folder: Path) -> str | None:
    """The text of a model's license file, cut at 20 000 characters; None without one."""
    for name in _LICENSE_FILES:
        file = folder / name
        if file.is_file():
            with contextlib.suppress(OSError), file.open(encoding="utf-8", errors="replace") as stream:
                return stream.read(_LICENSE_CHARACTERS)
    return None


def license_name(folder: Path) -> str | None:
    """The license that a model's files name; None where they name none.

    `README.md`'s front matter counts before the first line of the license file.
    """
    named = _front_matter(folder / "README.md")
    for key in ("license_name", "license"):  # the hub's `license: other` is named by `license_name`
        if isinstance(named.get(key), str) and named[key]:
            return str(named[key])[:120]
    lines = ((license_text(folder) or "").splitlines()) or [""]
    return next((line.strip()[:120] for line in lines if line.strip()), None)


def _front_matter(file: Path) -> dict[str, Any]:
    """What a README says between its first two lines of dashes; empty where it says nothing readable."""
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            text = stream.read(_FRONT_MATTER_CHARACTERS)
        head, begin, rest = text.partition("---\n")
        found = yaml.safe_load(rest.partition("\n---")[0]) if begin and not head.strip() else None
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
