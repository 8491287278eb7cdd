"""Which language the user reads, and what a text is in it.

Texts are written in English where they are made, here or at the server. They are put into the user's language where
they are shown: `tr` looks a text up in the catalogue, by its form where it has values in it. So a text that came over
HTTP, from a job or from a library is translated by the same means as our own. Knows no command and no library that
takes long to import.
"""

import functools
import os
from contextvars import ContextVar
from enum import StrEnum

VARIABLES = ("TUNESMITH_LANG", "LC_ALL", "LC_MESSAGES", "LANG")
"""What says which language the user reads: the first of them that says anything."""


class Language(StrEnum):
    """The languages of texts for people."""

    EN = "en"
    ZH = "zh"


def language_of(tag: str) -> Language:
    """The language of ours that serves a reader of another: `zh_CN.UTF-8`, `zh-Hant` and `zh` read Chinese."""
    name = tag.strip().lower().replace("-", "_").split(".")[0].split("@")[0].split("_")[0]
    return Language.ZH if name in ("zh", "chinese", "cmn", "yue") else Language.EN


_chosen: ContextVar[Language | None] = ContextVar("language", default=None)


def choose(language: Language | None) -> None:
    """Let what is said from now on be in a language, whatever the environment says; None leaves it to that again."""
    _chosen.set(language)


def current() -> Language:
    """What the user reads: what was chosen, else `TUNESMITH_LANG`, else the locale."""
    if chosen := _chosen.get():
        return chosen
    said = next((os.environ[name] for name in VARIABLES if os.environ.get(name, "").strip()), "")
    return language_of(said)


def tr(text: str, language: Language | None = None) -> str:
    """A text in the user's language; as it is where nobody has translated it.

    Args:
        text: In English, with its values in it.
        language: Another language than the user's.
    """
    return _translated(text) if (language or current()) is Language.ZH and text else text


def _translated(text: str) -> str:
    from tunesmith.language.catalogue import chinese

    return chinese().translate(text)


@functools.cache
def comma(language: Language) -> str:
    """What stands between things that are listed."""
    return "、" if language is Language.ZH else ", "
