"""A process of its own that looks at answers with users' patterns and schemas, and who asks it.

Python's `re` cannot be interrupted, and a schema can take as long: so the system ends the process when one look has
taken its processor time, and the next look gets a new one. It has none of our environment's secrets, writes no file,
and ends with whoever started it, for its input ends then. Messages are lines of JSON.
"""

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

MOST_CHARACTERS = 200_000
"""What is looked at of an answer."""
_GIVEN_UP_AFTER = 3
_MEMORY = 1 << 30
_WALL = 60.0
"""Seconds that a look may take on a busy machine."""
_PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH")


class ChildLookup:
    """Patterns and schemas that are looked up in a process of their own; it starts at the first look.

    Args:
        definitions: Scorers as `custom.py` dumps them, of kind `regex` or `json_schema`.
        seconds: Processor time that one look may take.
    """

    def __init__(self, definitions: Sequence[Mapping[str, Any]], seconds: float) -> None:
        self.definitions = list(definitions)
        self._seconds = seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._lost = [0] * len(self.definitions)
        self._lock = threading.Lock()

    def value(self, number: int, text: str) -> float | str:
        """What a scorer says of a text; the reason where it says nothing."""
        name = self.definitions[number]["name"]
        with self._lock:
            if self._lost[number] >= _GIVEN_UP_AFTER:
                return f"The scorer `{name}` was given up: it took too long {_GIVEN_UP_AFTER} times."
            said = self._ask({"scorer": number, "text": text[:MOST_CHARACTERS]})
            if said is None:
                self._lost[number] += 1
                return f"The scorer `{name}` took more than {self._seconds:g} s of processor time, or too much memory."
        return float(said["value"]) if "value" in said else f"The scorer `{name}` failed: {said['wrong']}"

    def problems(self) -> list[str | None]:
        """For each definition what is wrong with it; None where it can be used."""
        with self._lock:
            found = [self._ask({"scorer": number}) for number in range(len(self.definitions))]
        return ["It takes too long to read." if said is None else said.get("wrong") for said in found]

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any] | None:
        """What the process answers; None where it ended instead."""
        child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps(question).encode() + b"\n")
            child.stdin.flush()
            line = child.stdout.readline()
            said: dict[str, Any] | None = json.loads(line) if line else None
        except (BrokenPipeError, ValueError):
            said = None
        if said is None:
            self._end()
        return said

    def _start(self) -> subprocess.Popen[bytes]:
        self._child = child = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(self._seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            cwd="/",
            process_group=0,
        )
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(json.dumps(self.definitions).encode() + b"\n")
            child.stdin.flush()
        return child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            child.wait()


def main() -> None:
    """Answer questions until there are no more."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)  # they end the process, also within a library's loop
    seconds = float(sys.argv[1])
    definitions = json.loads(sys.stdin.buffer.readline())
    made: dict[int, Callable[[str], float]] = {}
    _prepare(definitions)
    for line in sys.stdin.buffer:
        question = json.loads(line)
        number = question["scorer"]
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, _WALL)
        said: dict[str, Any]
        try:
            if number not in made:
                made[number] = _made(definitions[number])
            said = {"value": made[number](question["text"]) if "text" in question else 0.0}
        except Exception as error:
            words = " ".join(f"{error}".split())[:200].rstrip(".")
            said = {"wrong": f"{words or type(error).__name__}."}
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout.buffer.write(json.dumps(said).encode() + b"\n")
        sys.stdout.buffer.flush()


def _prepare(definitions: Sequence[Mapping[str, Any]]) -> None:
    """Import what takes longer than a look may, before the first."""
    if any(one["kind"] == "json_schema" for one in definitions):
        with contextlib.suppress(ImportError):
            import jsonschema  # noqa: F401


def _made(one: Mapping[str, Any]) -> Callable[[str], float]:
    """What a definition says of a text."""
    if one["kind"] == "regex":
        pattern = re.compile(one["pattern"], re.IGNORECASE if one["ignore_case"] else 0)
        find = pattern.fullmatch if one["match"] == "whole" else pattern.search
        wanted = not one["negate"]
        return lambda text: float((find(text) is not None) is wanted)
    return _schema(one["schema"])


def _schema(schema: Mapping[str, Any]) -> Callable[[str], float]:
    import jsonschema
    import referencing

    from tunesmith.evaluation.scores.text import without_fence

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    kind.check_schema(schema)
    # A registry of nothing: else a `$ref` to an address would be fetched.
    validator = kind(schema, registry=referencing.Registry())

    def fits(text: str) -> float:
        inside = without_fence(text)
        try:
            value = json.loads(text if inside is None else inside)
        except (ValueError, RecursionError):
            return 0.0
        return float(validator.is_valid(value))

    return fits


if __name__ == "__main__":
    main()
