"""What a base model's license asks of who passes on a model made of it: a table, by the license's name.

Nobody's legal advice: it says which terms there are, so that they are read before a package is made and not after.
Knows names of licenses; knows no folder.
"""

import re
from enum import StrEnum
from typing import NamedTuple


class Passing(StrEnum):
    """What is asked of who passes a model on."""

    FREE = "free"
    """Nothing but the license's text and its notices."""
    SAME = "same"
    """The same license again."""
    USES = "uses"
    """Terms of use that are to be handed on with it."""
    NAMED = "named"
    """A name, or a line, that it must carry."""
    LIMITED = "limited"
    """Not for everything, or not to everybody: no commerce, research alone."""
    FORBIDDEN = "forbidden"
    """Not in a changed form: and every fine-tuned or quantised model is one."""
    UNKNOWN = "unknown"
    """Nobody here knows."""


class Terms(NamedTuple):
    """What a license asks."""

    passing: Passing
    words: str
    """What it asks: the rest of a sentence."""
    must_begin: str | None = None
    """What the name of a model must begin with."""
    lines: tuple[str, ...] = ()
    """What its card must say."""

    @property
    def is_shown(self) -> bool:
        """Whether it is worth a word before a package is made."""
        return self.passing not in (Passing.FREE, Passing.SAME)

    @property
    def must_be_accepted(self) -> bool:
        """Whether the license forbids to pass a package on as one likes."""
        return self.passing in (Passing.LIMITED, Passing.FORBIDDEN)

    def sentence(self, name: str | None) -> str:
        """It as a sentence, with the license's name."""
        return (
            f"License of the base, `{name}`: {self.words}" if name else f"License of the base: {self.words}"
        )


def _llama(version: str) -> Terms:
    return Terms(
        Passing.NAMED,
        'a model made of it that is passed on has a name that begins with "Llama", is shown with "Built with Llama", '
        "and comes with the agreement and its notice; services above 700 million users a month need a license of "
        "their own.",
        must_begin="Llama",
        lines=(
            "Built with Llama",
            f"Llama {version} is licensed under the Llama {version} Community License, "
            "Copyright © Meta Platforms, Inc. All Rights Reserved.",
        ),
    )


_FREE = Terms(
    Passing.FREE,
    "it may be passed on with the license's text and notices.",
)
_SAME = Terms(
    Passing.SAME,
    "what is made of it is passed on under the same license.",
)
_USES = Terms(
    Passing.USES,
    "its restrictions of use go on to whoever is given a model made of it, with a copy of the license.",
)
_GEMMA = Terms(
    Passing.USES,
    "a model made of it is passed on with Google's restrictions of use in an agreement of its own, a copy of the "
    "terms, and a notice; changed files say that they were changed.",
    lines=(
        "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms",
    ),
)
_LLAMA_2 = Terms(
    Passing.USES,
    "it is passed on with the agreement, Meta's notice and its rules of use, and makes no other language model better; "
    "services above 700 million users a month need a license of their own.",
    lines=(
        "Llama 2 is licensed under the LLAMA 2 Community License, Copyright © Meta Platforms, Inc. "
        "All Rights Reserved.",
    ),
)
_QWEN = Terms(
    Passing.NAMED,
    'a model made of it is shown with "Built with Qwen" or "Improved using Qwen" and comes with the agreement; '
    "services above 100 million users a month need a license of their own.",
    lines=("Built with Qwen",),
)
_NO_COMMERCE = Terms(
    Passing.LIMITED,
    "nothing made of it may be passed on or used for commerce.",
)
_RESEARCH = Terms(
    Passing.LIMITED,
    "it is for research alone: nothing made of it may be passed on or used for anything else.",
)
_UNCHANGED = Terms(
    Passing.FORBIDDEN,
    "it may not be passed on in a changed form, and a fine-tuned or quantised model is one.",
)
_UNKNOWN = Terms(
    Passing.UNKNOWN,
    "it is none that is known here: read its terms before a package is passed on.",
)
_NONE = Terms(
    Passing.UNKNOWN,
    "its files name none: without one nothing may be passed on. Ask where the model came from.",
)

_TABLE: tuple[tuple[str, Terms], ...] = (
    # What forbids comes first: `cc-by-nc-nd` forbids more than `cc-by-nc`, and both more than `cc-by`.
    (r"cc-by(-nc)?-nd\b.*|(creative commons )?attribution-(noncommercial-)?noderivatives.*", _UNCHANGED),
    (r"cc-by-nc\b.*|(creative commons )?attribution-noncommercial.*", _NO_COMMERCE),
    (r".*\bnon-?commercial\b.*|.*\bfair-noncommercial.*", _NO_COMMERCE),
    (r".*\bnon-?production\b.*|mnpl.*", _NO_COMMERCE),
    (r".*\bresearch\b.*|mrl\b.*", _RESEARCH),
    (r"llama[ -]?4\b.*", _llama("4")),
    (r"(meta )?llama[ -]?3\.3\b.*", _llama("3.3")),
    (r"(meta )?llama[ -]?3\.2\b.*", _llama("3.2")),
    (r"(meta )?llama[ -]?3\.1\b.*", _llama("3.1")),
    (r"(meta )?llama[ -]?3\b.*", _llama("3")),
    (r"(meta )?llama[ -]?2\b.*", _LLAMA_2),
    (r"gemma\b.*|health-ai-developer-foundations", _GEMMA),
    (r"qwen\b.*|tongyi[ -]qianwen\b.*", _QWEN),
    (
        r"(bigscience-)?(bloom-)?(creativeml-)?(bigcode-)?openrail.*|bigscience-bloom-rail.*|bigcode-openrail.*"
        r"|deepseek\b.*|.*\brail\b.*",
        _USES,
    ),
    (r"cc-by-sa\b.*|(a|l)?gpl\b.*|gnu .*|mpl-.*|mozilla.*|epl-.*|osl-.*|eupl-.*", _SAME),
    (
        r"apache.*|mit\b.*|bsd\b.*|cc0.*|cc-by\b.*|isc|unlicense|zlib|artistic-.*|wtfpl|0bsd|ncsa|afl-3\.0|ms-pl"
        r"|postgresql|pddl|odc-by|cdla-.*|bsl-1\.0|the mit license.*",
        _FREE,
    ),
)
_COMPILED = tuple((re.compile(pattern), terms) for pattern, terms in _TABLE)


def terms_of(license_name: str | None) -> Terms:
    """What a license asks of who passes a model on.

    Args:
        license_name: As a model's files name it: the hub's word (`llama3.1`), or the first line of a license's text.
    """
    if not license_name or not license_name.strip():
        return _NONE
    name = re.sub(r"\s+", " ", license_name.strip().lower().replace("_", "-"))
    name = re.sub(r"^cc[ -]by", "cc-by", name)
    for pattern, terms in _COMPILED:
        if pattern.fullmatch(name):
            return terms
    return _UNKNOWN
