"""A folder's tokenizer as a GGUF file's metadata: words, merges, marks, and how a text is cut before.

How a text is cut is recognised by the rules in `tokenizer.json` themselves, never by a model's name: a saved folder may
hold others than its model had. Rules that llama.cpp does not have are refused, as it would make other ids in silence.
Knows `tokenizer.json`; imports no tokenizer.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.gguf.file import Value
from tunesmith.gguf.problems import cannot
from tunesmith.gguf.text_rules import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Rules, rules_of
from tunesmith.model_folder import check_tokenizer_folder
from tunesmith.model_folder.configuration import GENERATION
from tunesmith.model_folder.files import MAX_CONFIG_BYTES, TOKENIZER
from tunesmith.rows.chat.template import find_special_tokens, find_template
from tunesmith.rows.files.json_file import read_object
from tunesmith.rows.tokens.tokenizer_file import load_tokenizer
from tunesmith.spec.base import Notice

_ENDS = ("eos", "eot", "eom")
"""Places for words that end a text, a turn, a message: each ends an answer."""
_FIELDS = {"unk": "unknown", "pad": "padding", "bos": "bos"} | dict(zip(_ENDS, _ENDS, strict=True))
"""What llama.cpp's fields call the words that have a part of their own."""


_PHI3 = re.compile("phi-?3", re.IGNORECASE)
_KEEP_SPACES = frozenset({"<unk>", "<s>", "<|endoftext|>"})
"""Marks of Phi 3 that leave what is behind them as it is."""


class Vocabulary(NamedTuple):
    """What a file says of its tokenizer."""

    metadata: dict[str, Value]
    notices: tuple[Notice, ...]
    strips: bool = False
    """Whether its marks take the spaces behind them away, as Phi 3's do: llama.cpp knows that by a model's name."""

    def named(self, name: str) -> str:
        """A model's name, under which llama.cpp reads this tokenizer right.

        Every mark of a model whose name has `phi-3` or `phi3` in it takes the spaces behind it away, whatever its
        tokenizer says, and a file without the marks of Phi 3 is not loaded.
        """
        if self.strips:
            return name if _PHI3.search(name) else f"{name} (phi-3)"
        return _PHI3.sub("phi 3", name)


def vocabulary_of(folder: Path, model: Path, config: Mapping[str, Any], rows: int) -> Vocabulary:
    """What a file says of a folder's tokenizer and chat template.

    Args:
        folder: The tokenizer's folder.
        model: The model's, whose generation settings say what ends an answer where the tokenizer's folder has none.
        config: The model's configuration, which says it where those do not.
        rows: Words that the model has rows for.

    Raises:
        InvalidModel: The folder has no sound tokenizer.
        NotConvertible: llama.cpp would make other ids; names the field and why.
    """
    check_tokenizer_folder(folder)
    load_tokenizer(folder)  # says what is no tokenizer
    tokenizer = read_object(folder / TOKENIZER)
    rules = rules_of(tokenizer)
    words, kinds = _words(tokenizer, rows, rules)
    metadata: dict[str, Value] = {
        "tokenizer.ggml.model": rules.model,
        "tokenizer.ggml.pre": rules.name,
        "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.token_type": kinds,
        **rules.metadata,
    }
    if rules.scores:
        metadata["tokenizer.ggml.scores"] = [*rules.scores, *[0.0] * (rows - len(rules.scores))]
    ids = {word: number for number, word in enumerate(words)}
    special = {
        name: _id_of(word, ids)
        for name, word in find_special_tokens(folder).items()
        if name in ("bos_token", "eos_token") or word in ids
    }
    named = {name: special[f"{name}_token"] for name in ("bos", "unk", "pad") if f"{name}_token" in special}
    if rules.before is not None:
        named["bos"] = _id_of(rules.before, ids)
    ends = [] if rules.after is None else [_id_of(rules.after, ids)]
    ends += [special["eos_token"]] if "eos_token" in special else []
    settings = next((place for place in (folder, model) if (place / GENERATION).is_file()), model)
    named |= _ends(ends + _ends_of_answers(settings, config), len(words))
    metadata["tokenizer.ggml.add_bos_token"] = rules.before is not None
    metadata["tokenizer.ggml.add_eos_token"] = rules.after is not None
    if template := find_template(folder):
        metadata["tokenizer.chat_template"] = template
        if "bos_token" in template and special.get("bos_token") != named.get("bos", -1):
            raise cannot(
                "bos_token",
                "is written by the chat template, and is not named or not what texts begin with",
                file=TOKENIZER,
            )
    # Without these fields llama.cpp takes the word 11 for both.
    named.setdefault("bos", named["eos"])
    for name, key in _FIELDS.items():
        if name in named:
            metadata[f"tokenizer.ggml.{key}_token_id"] = named[name]
    return Vocabulary(metadata, rules.notices, _strips(tokenizer))


def _words(tokenizer: Mapping[str, Any], rows: int, rules: Rules) -> tuple[list[str], list[int]]:
    """Every row's word and its kind."""
    words: dict[int, str] = {}
    for word, number in tokenizer["model"]["vocab"].items():
        words[number] = word
    kinds = dict.fromkeys(words, NORMAL)
    for number, kind in rules.kinds.items():
        kinds[number] = kind
    for token in _added(tokenizer):
        if words.get(token["id"], token["content"]) != token["content"]:
            raise cannot(
                "added_tokens",
                f"has `{str(token['content'])[:40]}` with the number of `{words[token['id']][:40]}`",
                file=TOKENIZER,
            )
        words[token["id"]] = token["content"]
        kinds[token["id"]] = kinds.get(token["id"], NORMAL)
        if kinds[token["id"]] != UNKNOWN:
            kinds[token["id"]] = CONTROL if token.get("special") else USER_DEFINED
    largest = max(words, default=-1)
    if largest >= rows:
        raise cannot(
            "added_tokens",
            f"and words go up to number {largest}; the model has rows for {rows}",
            hint="Give the tokenizer that the model was saved with.",
            file=TOKENIZER,
        )
    for number in range(rows):
        if number not in words:
            words[number], kinds[number] = f"[PAD{number}]", UNUSED
    found = [words[number] for number in range(rows)]
    twice = next((word for word, count in Counter(found).items() if count > 1), None)
    if twice is not None:  # llama.cpp would end its process
        raise cannot("model.vocab", f"has `{twice[:40]}` twice", file=TOKENIZER)
    return found, [kinds[number] for number in range(rows)]


def _added(tokenizer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    strips = _strips(tokenizer)
    for token in tokenizer.get("added_tokens") or []:
        for flag in ("lstrip", "rstrip", "single_word"):
            if token.get(flag) and not strips:
                raise cannot(
                    "added_tokens",
                    f"has `{str(token['content'])[:40]}` with `{flag}`, which llama.cpp does not have",
                    file=TOKENIZER,
                )
        yield token


def _strips(tokenizer: Mapping[str, Any]) -> bool:
    """Whether marks take spaces away exactly as llama.cpp knows it of Phi 3."""
    tokens = {token["content"]: token for token in tokenizer.get("added_tokens") or []}
    if not {*_KEEP_SPACES, "</s>"} <= tokens.keys():
        return False
    return all(
        not token.get("lstrip")
        and not token.get("single_word")
        and bool(token.get("rstrip")) is (word not in _KEEP_SPACES)
        for word, token in tokens.items()
    )


def _ends(numbers: list[int], rows: int) -> dict[str, int]:
    """The words that end a text, by llama.cpp's names: the first ends every text where one is put there."""
    ends = list(dict.fromkeys(numbers))
    if not ends:
        raise cannot("eos_token", "is not named, and llama.cpp would take the word 11", file=TOKENIZER)
    if len(ends) > len(_ENDS):
        raise cannot(
            "eos_token_id",
            f"names {len(ends)} words that end a text; a file has places for {len(_ENDS)}",
            file=TOKENIZER,
        )
    if max(ends) >= rows:
        raise cannot("eos_token_id", f"names the word {max(ends)}; the model has {rows}", file=TOKENIZER)
    return dict(zip(_ENDS, ends, strict=False))


def _ends_of_answers(model: Path, config: Mapping[str, Any]) -> list[int]:
    file = model / GENERATION
    said = read_object(file, MAX_CONFIG_BYTES).get("eos_token_id") if file.is_file() else None
    said = config.get("eos_token_id") if said is None else said
    given = said if isinstance(said, list) else [said]
    return [number for number in given if isinstance(number, int) and number >= 0]


def _id_of(word: str, ids: Mapping[str, int]) -> int:
    if word not in ids:
        raise cannot(
            "tokenizer_config.json", f"names `{word[:40]}`, which is no word of the tokenizer", file=TOKENIZER
        )
    return ids[word]
