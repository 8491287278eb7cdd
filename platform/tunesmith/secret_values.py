"""Secrets by reference: a variable's name stands for one, what it holds is read where it is used, and shown nowhere.

`NAME` holds the secret itself; or `NAME_FILE` names the file that holds it, such as one that Kubernetes mounts of a
Secret. What is outside may repeat a secret in its answer, so whatever is stored or shown of others' words is looked
through for all that this process knows. Knows variables and texts; knows nothing of who uses which.
"""

import base64
import configparser
import functools
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from tunesmith.errors import InvalidInput

FILE = "_FILE"
"""What is added to a variable's name where a file holds the secret."""
HIDDEN = "***"
_LOOKS_SO = re.compile(
    r"(?i)(bearer\s+|basic\s+(?=[\w+/]{12}))[^\s\"',]+"
    r"|\b()(?:ts-[\w-]{20,}|hf_\w{16,}|AKIA[0-9A-Z]{16}|tskey-[\w-]{8,})"
    r"|(://[^\s/@:]*:)[^\s/@]+(?=@)"
    r"|([?&](?:code|key|token|secret|signature|password|x-amz-signature|x-amz-credential)=)[^\s&\"']+"
)
_NAMED_SO = re.compile(r"(?:TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS)$")
_FILE_OF = re.compile(r"^(.+)_(?:FILE|PATH)$")
_WITH_USER = re.compile(r"://[^\s/@]+@")
_SHORTEST = 8
"""Shorter values of variables are words that a line may hold by chance."""
_MOST_BYTES = 2**16
_read: set[str] = set()
"""What was read by `named`: its variable may be called anything."""


def named(name: str, environment: Mapping[str, str] | None = None) -> str:
    """The secret that a variable stands for; "" where there is none.

    Args:
        name: The variable's; where it is not set, the file that `NAME_FILE` names is read, each time anew.
        environment: This process's when None.

    Raises:
        InvalidInput: The file cannot be read. What it holds is not said.
    """
    given = os.environ if environment is None else environment
    value = given.get(name, "").strip()
    file = given.get(name + FILE, "").strip()
    if not value and file:
        try:
            value = _text_of(Path(file)).strip()
        except (OSError, ValueError) as error:
            why = (isinstance(error, OSError) and error.strerror) or "it is no text"
            raise InvalidInput(
                f"The file that `{name}_FILE` names cannot be read: {why}.",
                hint="Set it to a file that the platform's processes may read, on every node that runs jobs.",
            ) from None
    if len(value) >= _SHORTEST:
        _read.add(value)
    return value


def known_secrets(environment: Mapping[str, str] | None = None) -> frozenset[str]:
    """What an environment's variables hold that are named like secrets, and the files that they name."""
    given = os.environ if environment is None else environment
    found = {value for name, text in given.items() for value in _secrets_of(name, text)}
    return frozenset(value for value in found | _read if len(value) >= _SHORTEST)


def hide(text: str, known: frozenset[str] = frozenset()) -> str:
    """A text without what looks like a key, and without values that are known to be one."""
    text = _LOOKS_SO.sub(lambda found: f"{next(filter(None, found.groups()), '')}{HIDDEN}", text)
    return hide_known(text, known)


def words_without_secrets(error: object) -> str:
    """What an error says, to be kept or shown: without what this process was given, and what looks like a key."""
    return hide(str(error), known_secrets())


def hide_known(text: str, known: frozenset[str]) -> str:
    """A text without values that are known to be secrets, however they are written in it."""
    for secret in sorted(known | _read, key=len, reverse=True):  # one may hold another
        for form in _forms(secret):
            text = text.replace(form, HIDDEN)
    return text


def hide_in_json(line: bytes, known: frozenset[str]) -> bytes:
    """The same in every text of an object in JSON; the names in it stay.

    Args:
        line: The object, in UTF-8; given back as it is where it holds no secret.
        known: Values that are secrets; those that were read by `named` count too.
    """
    if not any(form.encode() in line for secret in known | _read for form in _forms(secret)):
        return line
    return json.dumps(_hidden_within(json.loads(line), known), ensure_ascii=False).encode()


def _hidden_within(said: Any, known: frozenset[str]) -> Any:
    if isinstance(said, str):
        return hide_known(said, known)
    if isinstance(said, dict):
        return {name: _hidden_within(value, known) for name, value in said.items()}
    return [_hidden_within(value, known) for value in said] if isinstance(said, list) else said


@functools.lru_cache(maxsize=256)
def _forms(secret: str) -> tuple[str, ...]:
    """How a secret is written: plain, in an address, in JSON, in what Python says of a text, in base64.

    In base64 it looks different by what stands before it, such as a user's name; what is given is all that does not
    depend on what stands around it.
    """
    packed = [base64.b64encode(bytes(before) + secret.encode()).decode() for before in range(3)]
    within = (
        text[4 if before else 0 : -4] for before, text in enumerate(packed) if len(secret) >= _SHORTEST + 2
    )
    forms = (secret, quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1], *within)
    return tuple(dict.fromkeys(forms))


class HidingFormatter(logging.Formatter):
    """Lines of a log without secrets, those in tracebacks too.

    Args:
        form: As `logging.Formatter` takes it.
        known: Values that are secrets.
    """

    def __init__(self, form: str, known: frozenset[str] = frozenset()) -> None:
        super().__init__(form)
        self._known = known

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        return hide(super().format(record), self._known)


def _secrets_of(name: str, text: str) -> Iterator[str]:
    """What a variable holds of secrets: itself, the file that it names, or passwords of addresses in it."""
    name = name.upper()
    file_of = _FILE_OF.match(name)
    if file_of and _NAMED_SO.search(file_of[1]):
        yield from _secrets_in(Path(text))
    elif _NAMED_SO.search(name) and not (text.startswith("/") and Path(text).exists()):
        yield text.strip()
    for found in _WITH_USER.finditer(text):
        user, _, password = found[0][3:-1].partition(":")
        if password != user:
            yield from {password, unquote(password)}


def _secrets_in(file: Path) -> Iterator[str]:
    """What a file of secrets holds: one; or several with their names, as AWS writes them."""
    try:
        text = _text_of(file)
    except (OSError, ValueError):
        return
    if "\n" not in text.strip():
        yield text.strip()
        return
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error:
        return
    for section in parser.sections():
        yield from (value for name, value in parser.items(section) if _NAMED_SO.search(name.upper()))


def _text_of(file: Path) -> str:
    with file.open(encoding="utf-8") as opened:
        return opened.read(_MOST_BYTES)


def has_user(url: str) -> bool:
    """Whether an address says who asks, with a password perhaps: then it is none to be shown."""
    return _WITH_USER.search(url) is not None
