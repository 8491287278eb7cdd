"""Names of files that lead out of a folder, every text that a call may hold, and who opens what. No test itself."""

import contextlib
import copy
import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

_OPEN, _ACCESS = 0x20, 0x1
_IS_FOLDER = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Opened:
    """What is opened or read below a folder, by any process of this machine, for the block (Linux: inotify)."""

    def __init__(self, folder: Path) -> None:
        self._file = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self._file >= 0, os.strerror(ctypes.get_errno())
        self._names: dict[int, Path] = {}
        for each in [folder, *(one for one in folder.rglob("*") if one.is_dir())]:
            watch = _libc.inotify_add_watch(self._file, os.fsencode(each), _OPEN | _ACCESS)
            assert watch >= 0, os.strerror(ctypes.get_errno())
            self._names[watch] = each

    def taken(self) -> list[str]:
        """What was opened since the last look."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._file, 65536):
                at = 0
                while at < len(data):
                    watch, _mask, _cookie, length = struct.unpack_from("iIII", data, at)
                    name = data[at + 16 : at + 16 + length].rstrip(b"\0").decode()
                    found.append(str(self._names[watch] / name))
                    at += 16 + length
        return sorted(set(found))

    def close(self) -> None:
        os.close(self._file)


def leading_out(root: Path, target: Path) -> dict[str, str]:
    """Names of a file or folder outside, by the trick; each is tried where a path is expected.

    Args:
        root: A folder that may be used; `link` and `deep/link` in it lead to the target's folder.
        target: What is not to be opened. The working directory and the home folder are its folder.
    """
    name, folder = target.name, target.parent
    up = "/".join([".."] * len(root.parts))
    return {
        "absolute": str(target),
        "up": f"{root}/../{folder.name}/{name}",
        "link": f"{root}/link/{name}",
        "file address": target.as_uri(),
        "up from below": f"{root}/deep/../../{folder.name}/{name}",
        "far up": f"{root}/{up}{target}",
        "link below": f"{root}/deep/link/{name}",
        "relative": name,
        "relative up": f"../{folder.name}/{name}",
        "home": f"~/{name}",
        "a variable": f"$HOME/{name}",
        "encoded": f"{root}/%2e%2e/{folder.name}/{name}",
        "all encoded": quote(str(target), safe=""),
        "encoded address": f"file://{root}/%2e%2e/{folder.name}/{name}",
        "address of this host": f"file://localhost{target}",
        "address in capitals": f"FILE://{target}",
        "no slashes": f"file:{target}",
        "doubled slashes": f"/{root}//..//{folder.name}//{name}",
        "backslashes": f"{root}\\..\\{folder.name}\\{name}",
        "proc": f"/proc/self/root{target}",
        "proc of the working directory": f"/proc/self/cwd/{name}",
        "NUL at its end": f"{target}\0.jsonl",
        "NUL after the root": f"{root}/rows.jsonl\0/../{folder.name}/{name}",
        "blanks around": f" {target} ",
        "with a dot": f"{root}/./.././{folder.name}/./{name}",
    }


Place = tuple[str | int, ...]
"""Where in a body a text stands."""


def texts_of(
    schema: dict[str, Any], schemas: dict[str, Any], at: Place = (), seen: frozenset[str] = frozenset()
) -> Iterator[Place]:
    """Where a body may hold a text that is not one of a list, as OpenAPI describes it.

    Args:
        schema: The body's.
        schemas: All that are named.
        at: Where it stands.
        seen: Names on the way here: one that holds itself is not gone through again.
    """
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in seen:
            yield from texts_of(schemas[name], schemas, at, seen | {name})
        return
    for one in [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]:
        yield from texts_of(one, schemas, at, seen)
    for name, one in schema.get("properties", {}).items():
        yield from texts_of(one, schemas, (*at, name), seen)
    if isinstance(more := schema.get("additionalProperties"), dict):
        yield from texts_of(more, schemas, (*at, "key"), seen)
    if "items" in schema:
        yield from texts_of(schema["items"], schemas, (*at, 0), seen)
    if schema.get("type") == "string" and "enum" not in schema and "const" not in schema:
        yield at


def with_text(body: Any, place: Place, text: str) -> Any:
    """A body with a text in a place; what is not there on the way is made."""
    if not place:
        return text
    first, *rest = place
    if isinstance(first, int):
        below = body[0] if isinstance(body, list) and body else None
        return [with_text(below, tuple(rest), text)]
    made = copy.copy(body) if isinstance(body, dict) else {}
    made[first] = with_text(made.get(first), tuple(rest), text)
    return made
