"""By which rules a `tokenizer.json` cuts a text and joins it to words, in llama.cpp's terms.

llama.cpp has a list of ways, each with a name; a file says the name alone. Here a tokenizer's own rules are looked up
in that list: the same rules, the same ids. Knows both lists; knows nothing of folders.
"""

import unicodedata
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

from tunesmith.gguf.file import Value
from tunesmith.gguf.problems import cannot
from tunesmith.model_folder.files import TOKENIZER
from tunesmith.spec.base import Notice

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_FIRST = r"[^\r\n\p{L}\p{N}]?"
_FALLS, _RISES = _FIRST + _UPPER + "*" + _LOWER + "+", _FIRST + _UPPER + "+" + _LOWER + "*"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_TEKKEN = "|".join((_FALLS, _RISES, r"\p{N}", _REST))
_O200K = "|".join((_FALLS + _SHORT, _RISES + _SHORT, r"\p{N}{1,3}", _REST))
_DEEPSEEK = (
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
    " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
)
_BY_PATTERN = {
    ((_LLAMA3,), True): "llama-bpe",
    ((_LLAMA3,), False): "smaug-bpe",
    ((_QWEN2,), False): "qwen2",
    ((_TEKKEN,), True): "tekken",
    # `gpt-4o` is not these rules in llama.cpp: it cuts Hindi, Thai and others at their marks.
    ((_O200K,), False): "granite-embed-multi-97m",
    (_DEEPSEEK, False): "deepseek-v3",
}
"""Ways of cutting by patterns, one after another, and whether a piece that is a word is taken whole
(`ignore_merges`)."""
_MARKS = {"tekken"}
"""Ways that llama.cpp has but for marks on letters."""
_ALPHABET = 256
_BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(_ALPHABET))
_SPACE = "▁"
CUTS_AT_MARKS = "pre_tokenizer.marks"
"""The field of the notice that says so."""
_CUTS_AT_MARKS = (
    "llama.cpp cuts words at marks on letters where this tokenizer does not: texts in Hindi, Thai and other scripts "
    "that write vowels as marks get other ids. All others are not concerned."
)
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""llama.cpp's kinds of words."""


class Rules(NamedTuple):
    """How a tokenizer works, as a GGUF file says it."""

    model: str
    """llama.cpp's word for how pieces become words."""
    name: str
    """And for how a text is cut into pieces."""
    before: str | None
    """The word that is put before every text."""
    after: str | None
    """And the one behind it."""
    kinds: dict[int, int]
    """Words of other kinds than the common one."""
    metadata: dict[str, Value]
    notices: tuple[Notice, ...] = ()
    scores: Sequence[float] = ()
    """By a word's number, how early it is joined; empty where merges say it."""


def rules_of(tokenizer: Mapping[str, Any]) -> Rules:
    """How a tokenizer works.

    Args:
        tokenizer: What `tokenizer.json` says.

    Raises:
        NotConvertible: llama.cpp has no such way; names the field.
    """
    model = tokenizer["model"]
    if model.get("type") != "BPE":
        raise cannot("model.type", f"is `{model.get('type')}`: only BPE is written", file=TOKENIZER)
    if not isinstance(model.get("vocab"), dict) or not isinstance(model.get("merges"), list):
        raise cannot("model", "has no `vocab` or no `merges`", file=TOKENIZER)
    for field in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(field):
            raise cannot(f"model.{field}", "is set, which llama.cpp does not have", file=TOKENIZER)
    before, after = _around(tokenizer.get("post_processor"))
    if model.get("byte_fallback"):
        return _sentence_pieces(tokenizer, before, after)
    return _byte_level(tokenizer, before, after)


def _byte_level(tokenizer: Mapping[str, Any], before: str | None, after: str | None) -> Rules:
    """Words of bytes (GPT-2 and all after it)."""
    model = tokenizer["model"]
    steps = _steps(tokenizer.get("pre_tokenizer"), "pretokenizers")
    last = steps.pop() if steps else {}
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        raise cannot(
            "pre_tokenizer", "does not end with `ByteLevel` without a space put before", file=TOKENIZER
        )
    if (tokenizer.get("decoder") or {}).get("type") != "ByteLevel":
        raise cannot("decoder", "is not `ByteLevel`", file=TOKENIZER)
    name = _name_of(
        steps, by_words=last.get("use_regex", True) is True, whole=model.get("ignore_merges") is True
    )
    if name is None:
        raise cannot(
            "pre_tokenizer",
            f"cuts texts in a way that llama.cpp has no name for: {_shown(steps)}",
            file=TOKENIZER,
        )
    characters = sum(len(word) == 1 for word in model["vocab"])
    if model.get("unk_token") and characters < _ALPHABET:
        raise cannot(
            "model.unk_token",
            "stands for bytes that are no words, which llama.cpp leaves out",
            file=TOKENIZER,
        )
    notices = _normalizer(tokenizer.get("normalizer"))
    if name in _MARKS:
        notices += (Notice(field=CUTS_AT_MARKS, message=_CUTS_AT_MARKS),)
    return Rules("gpt2", name, before, after, {}, {"tokenizer.ggml.merges": _merges(model)}, notices)


def has_marks(text: str) -> bool:
    """Whether a text has marks on letters, where a notice says that it gets other ids."""
    return any(unicodedata.category(character).startswith("M") for character in text)


def _name_of(steps: list[dict[str, Any]], *, by_words: bool, whole: bool) -> str | None:
    """llama.cpp's name for a way of cutting.

    Args:
        steps: What comes before the bytes.
        by_words: Whether `ByteLevel` cuts by its own pattern.
        whole: See `_BY_PATTERN`.
    """
    kinds = [step.get("type") for step in steps]
    if by_words and not whole:
        if kinds == []:
            return "gpt-2"
        if kinds == ["Digits"] and steps[0].get("individual_digits") is True:
            return "smollm"
    elif kinds and all(_is_cut(step) for step in steps):
        return _BY_PATTERN.get((tuple(str(step["pattern"].get("Regex")) for step in steps), whole))
    return None


def _is_cut(step: Mapping[str, Any]) -> bool:
    """Whether a text is cut into what a pattern finds and what is between."""
    # All patterns that are known find every character: to remove what is between removes nothing.
    said = step.get("behavior"), bool(step.get("invert"))
    is_known = said in (("Isolated", False), ("Removed", True))
    return step.get("type") == "Split" and is_known and isinstance(step.get("pattern"), dict)


def _normalizer(given: Any) -> tuple[Notice, ...]:
    steps = _steps(given, "normalizers")
    if not steps:
        return ()
    if [step.get("type") for step in steps] != ["NFC"]:
        raise cannot(
            "normalizer", f"changes texts in a way that llama.cpp does not: {_shown(steps)}", file=TOKENIZER
        )
    notice = Notice(
        field="normalizer",
        message="llama.cpp does not put characters together (`NFC`) before it reads a text: one that has accents as "
        "characters of their own gets other ids. Texts as keyboards write them are not concerned.",
    )
    return (notice,)


def _sentence_pieces(tokenizer: Mapping[str, Any], before: str | None, after: str | None) -> Rules:
    """Words of characters with a mark for spaces, and of single bytes (SentencePiece: Llama 2, Mistral)."""
    model = tokenizer["model"]
    if model.get("ignore_merges"):
        raise cannot("model.ignore_merges", "is set beside `byte_fallback`", file=TOKENIZER)
    vocab: dict[str, int] = model["vocab"]
    if any(byte not in vocab for byte in _BYTES):
        raise cannot("model.vocab", "lacks some of the words for single bytes", file=TOKENIZER)
    steps = _steps(tokenizer.get("normalizer"), "normalizers") + _steps(
        tokenizer.get("pre_tokenizer"), "pretokenizers"
    )
    marks = {token["content"] for token in tokenizer.get("added_tokens") or []}
    kinds = {vocab[byte]: BYTE for byte in _BYTES}
    unknown = model.get("unk_token")
    if unknown in vocab:
        kinds[vocab[unknown]] = UNKNOWN
    puts_space, notices = _spaces(steps)
    metadata: dict[str, Value] = {"tokenizer.ggml.add_space_prefix": puts_space}
    if puts_space and any(token.get("normalized") for token in tokenizer.get("added_tokens") or []):
        raise cannot(
            "added_tokens",
            "has words that are looked for with a space before them (`normalized`)",
            file=TOKENIZER,
        )
    return Rules("llama", "default", before, after, kinds, metadata, notices, _scores(model, marks))


def _spaces(steps: list[dict[str, Any]]) -> tuple[bool, tuple[Notice, ...]]:
    """Whether a space is put before every piece of text, where spaces become the mark `▁` and nothing else is done."""
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    if steps[:1] == [replace]:
        # No space is left to cut at (Gemma).
        steps = [step for step in steps if step.get("pattern") != replace["pattern"] or step == replace]
    if steps == [replace]:
        return False, ()
    if steps == [{"type": "Prepend", "prepend": _SPACE}, replace]:
        return True, ()
    one = steps[0] if len(steps) == 1 else {}
    if one.get("type") != "Metaspace" or one.get("replacement") != _SPACE or one.get("split") is not False:
        raise cannot(
            "pre_tokenizer",
            f"cuts or changes texts in a way that llama.cpp has no name for: {_shown(steps)}",
            file=TOKENIZER,
        )
    scheme = one.get("prepend_scheme")
    if scheme == "never":
        return False, ()
    if scheme != "first":  # llama.cpp puts one before spaces too
        raise cannot(
            "pre_tokenizer.prepend_scheme", f"is `{scheme}`, which llama.cpp does not do", file=TOKENIZER
        )
    notice = Notice(
        field="pre_tokenizer.prepend_scheme",
        message="This tokenizer puts a space before a text that begins with a word, and llama.cpp does not: put it "
        "there. Texts that begin with a mark, as conversations do, are not concerned.",
    )
    return False, (notice,)


def _scores(model: Mapping[str, Any], marks: Set[str]) -> list[float]:
    """How early each word is joined: llama.cpp joins any two words that make one, the one with the highest score first.

    Args:
        model: The tokenizer's.
        marks: Words that are found in a text before any are joined.

    Raises:
        NotConvertible: The merges say otherwise: two words that make one are not joined, or at another time.
    """
    vocab: dict[str, int] = model["vocab"]
    scores = [0.0] * (max(vocab.values()) + 1)
    listed = set()
    last = None
    runs: dict[str, list[tuple[int, int]]] = {}
    again: set[str] = set()
    for rank, merge in enumerate(_merges(model)):
        left, right = merge.split(" ")
        listed.add((left, right))
        word = left + right
        if word not in vocab:
            raise cannot("model.merges", f"makes `{word[:40]}`, which is no word", file=TOKENIZER)
        is_run = word == word[0] * len(word)
        if is_run and not scores[vocab[word]]:
            runs.setdefault(word[0], []).append((len(left), len(right)))
        if scores[vocab[word]] and word != last:
            if not is_run:
                raise cannot(
                    "model.merges", f"makes `{word[:40]}` at two times, of other words", file=TOKENIZER
                )
            again.add(word[0])
        scores[vocab[word]] = scores[vocab[word]] or -float(rank + 1)
        last = word
    for character in again:
        # A run then grows from its left by one, whatever else would make it too (Gemma).
        if any(right != 1 for _, right in runs[character]) or runs[character] != sorted(
            runs[character], reverse=True
        ):
            why = f"makes runs of `{character}` in another order than the longest first"
            raise cannot("model.merges", why, file=TOKENIZER)
    for word in vocab.keys() - _BYTES - marks:
        for place in range(1, len(word)):
            pair = word[:place], word[place:]
            if pair not in listed and pair[0] in vocab and pair[1] in vocab:
                raise cannot(
                    "model.merges",
                    f"does not join `{pair[0][:20]}` and `{pair[1][:20]}`, which make a word",
                    file=TOKENIZER,
                )
    return scores


def _merges(model: Mapping[str, Any]) -> list[str]:
    """The merges as a file has them: two words with a space between."""
    found = []
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        if " " in left + right:
            raise cannot(
                "model.merges", f"has a word with a space in it: `{(left + right)[:40]}`", file=TOKENIZER
            )
        found.append(f"{left} {right}")
    return found


def _around(given: Any) -> tuple[str | None, str | None]:
    """The words that are put before and behind every text."""
    found = [step for step in _steps(given, "processors") if step.get("type") != "ByteLevel"]
    if not found:
        return None, None
    if len(found) > 1 or found[0].get("type") != "TemplateProcessing":
        raise cannot(
            "post_processor", f"is another than `TemplateProcessing`: {_shown(found)}", file=TOKENIZER
        )
    pieces = found[0].get("single") or []
    marks = [piece.get("SpecialToken", {}).get("id") for piece in pieces]
    place = marks.index(None) if None in marks else -1
    if place < 0 or marks.count(None) > 1 or place > 1 or len(marks) - place > 2:
        raise cannot("post_processor", "puts more than one word before or behind a text", file=TOKENIZER)
    special = found[0].get("special_tokens") or {}
    if any(len((special.get(mark) or {}).get("ids") or []) != 1 for mark in marks if mark is not None):
        raise cannot("post_processor", "puts more than one word before or behind a text", file=TOKENIZER)
    return marks[0] if place else None, marks[-1] if place < len(marks) - 1 else None


def _steps(given: Any, inner: str) -> list[dict[str, Any]]:
    """The steps of a part of a tokenizer, those inside of sequences in their place."""
    if not isinstance(given, dict):
        return []
    if given.get("type") != "Sequence":
        return [given]
    return [step for one in given.get(inner) or [] for step in _steps(one, inner)]


def _shown(steps: list[dict[str, Any]]) -> str:
    return ", ".join(f"`{step.get('type')}`" for step in steps) or "none"
