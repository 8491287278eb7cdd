"""Small tokenizers with the rules of published ones: how they cut texts, what they join, what they put around. No test
itself."""

import json
import random
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny_model import SPECIAL_TOKENS, TEXTS, make_tokenizer_folder

_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_FIRST = r"[^\r\n\p{L}\p{N}]?"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = rf"{_FIRST}{_UPPER}*{_LOWER}+|{_FIRST}{_UPPER}+{_LOWER}*|\p{{N}}|{_REST}"
O200K = rf"{_FIRST}{_UPPER}*{_LOWER}+{_SHORT}|{_FIRST}{_UPPER}+{_LOWER}*{_SHORT}|\p{{N}}{{1,3}}|{_REST}"
DEEPSEEK = (
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
    " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
WORDS = 600
HINDI = "हिन्दी में "
PIECES = (
    *"aAzZéß中文的日本 \t\n09.,!?'()-_=+<>|{}\\/\"«»€½²١३अ한ё\u00a0\u3000\u200d👍🏽",
    *(
        "  ",
        "   ",
        "\r\n",
        "\n\n",
        "the",
        " The",
        "ing",
        "'s",
        "'LL",
        "n't",
        "2026",
        " 12",
        "微调",
        "модель",
        "▁",
        "Ġ",
    ),
)
"""What texts are put together from."""


def mixed_texts(count: int = 300, seed: int = 0) -> list[str]:
    """Texts of pieces of many kinds in any order, in one Unicode form; the same every time."""
    chance = random.Random(seed)
    texts = ("".join(chance.choices(PIECES, k=chance.randint(1, 30))) for _ in range(count))
    return [unicodedata.normalize("NFC", text) for text in texts]


def _bytes(
    cut: Any = None,
    *,
    normalizer: Any = None,
    whole: bool = False,
    inverted: bool = False,
    more: str = "",
    before: str | None = None,
    after: str | None = None,
) -> Any:
    """A tokenizer of bytes.

    Args:
        cut: What cuts a text before `ByteLevel`, or None where that does.
        normalizer: What changes texts first.
        more: Another text that its words are learnt of.
        inverted: Whether what is between is removed instead, which is nothing.
        whole: Whether a piece that is a word is taken whole.
        before: A mark before every text.
        after: And behind it.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    steps = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not isinstance(cut, str | tuple))
    cuts = [cut] if isinstance(cut, str) else cut if isinstance(cut, tuple) else []
    if cuts:
        splits = [
            pre_tokenizers.Split(Regex(one), "removed" if inverted else "isolated", inverted) for one in cuts
        ]
        cut = pre_tokenizers.Sequence(splits)
    made = Tokenizer(models.BPE(ignore_merges=whole))
    made.pre_tokenizer = pre_tokenizers.Sequence([cut, steps]) if cut else steps
    made.decoder = decoders.ByteLevel()
    if normalizer:
        made.normalizer = normalizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(
        [*TEXTS, more],
        trainers.BpeTrainer(
            vocab_size=WORDS, special_tokens=SPECIAL_TOKENS, initial_alphabet=alphabet, show_progress=False
        ),
    )
    made.add_tokens(["<tool>", "unusual words"])
    if before or after:
        marks = [mark for mark in (before, after) if mark]
        made.post_processor = processors.TemplateProcessing(
            single=" ".join(part for part in (before, "$A", after) if part),
            pair="$A $B",
            special_tokens=[(mark, made.token_to_id(mark)) for mark in marks],
        )
    return made


def _pieces(*, legacy: bool, space: str = "always", before: str | None = "<s>") -> Any:
    """A tokenizer of characters, with merges as they are made of a SentencePiece model's words and scores."""
    from tokenizers import (
        AddedToken,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    trained.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=340, show_progress=False))
    learnt = trained.get_vocab()
    words = [word for word in sorted(learnt, key=learnt.__getitem__) if not word.startswith("<")]
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    joined = [word for word in words if len(word) > 1]
    order = [*first, *joined, *(word for word in words if len(word) == 1)]
    vocab = {word: number for number, word in enumerate(order)}
    merges = [
        pair
        for word in joined
        for pair in sorted(
            ((word[:at], word[at:]) for at in range(1, len(word)) if {word[:at], word[at:]} <= vocab.keys()),
            key=lambda pair: (vocab[pair[0]], vocab[pair[1]]),
        )
    ]
    made = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if legacy:
        prepend = [normalizers.Prepend("▁")] if space == "always" else []
        made.normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", "▁")])
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=space, split=False)
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.add_special_tokens(["<unk>", "<s>", "</s>", "<|im_end|>", "<|pad|>"])
    made.add_tokens([AddedToken("<tool>", normalized=False)])
    if before:
        made.post_processor = processors.TemplateProcessing(
            single=f"{before} $A", pair="$A $B", special_tokens=[(before, made.token_to_id(before))]
        )
    return made


def _gemma() -> Any:
    """Spaces are marks before they could be cut at, and runs of them words, made of any two shorter ones."""
    from tokenizers import AddedToken, Tokenizer, pre_tokenizers

    made = _pieces(legacy=True, space="never")
    parts = json.loads(made.to_str())
    model, runs = parts["model"], range(2, 9)
    marks, parts["added_tokens"] = parts["added_tokens"], []
    for size in runs:
        model["vocab"]["▁" * size] = len(model["vocab"])
    longest = [("▁" * left, "▁" * right) for left in reversed(range(1, 8)) for right in range(1, 9 - left)]
    model["merges"] = [*longest, *model["merges"]]
    made = Tokenizer.from_str(json.dumps(parts))
    made.add_tokens(
        [AddedToken(mark["content"], normalized=False, special=mark["special"]) for mark in marks]
    )
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    return made


def _phi3() -> Any:
    """Marks take the spaces behind them away, but for three."""
    from tokenizers import AddedToken

    made = _pieces(legacy=True)
    keep = ("<unk>", "<s>", "<|endoftext|>")
    marks = [*keep, "</s>", "<|im_end|>", "<|pad|>", "<|user|>", "<tool>"]
    made.add_special_tokens(
        [AddedToken(mark, special=True, normalized=False, rstrip=mark not in keep) for mark in marks]
    )
    return made


def _digits() -> Any:
    from tokenizers import pre_tokenizers

    return pre_tokenizers.Digits(individual_digits=True)


def _nfc() -> Any:
    from tokenizers import normalizers

    return normalizers.NFC()


TOKENIZERS: dict[str, tuple[str, Callable[[], Any]]] = {
    "gpt-2": ("gpt-2", _bytes),
    "gpt-2 with an end": ("gpt-2", lambda: _bytes(after="<|endoftext|>")),
    "smollm": ("smollm", lambda: _bytes(_digits())),
    "llama 3": ("llama-bpe", lambda: _bytes(LLAMA3, whole=True, before="<|im_start|>")),
    "llama 3, by merges": ("smaug-bpe", lambda: _bytes(LLAMA3)),
    "qwen2": ("qwen2", lambda: _bytes(QWEN2, normalizer=_nfc())),
    "tekken": ("tekken", lambda: _bytes(TEKKEN, whole=True, more=HINDI * 40)),
    "gpt-4o": ("granite-embed-multi-97m", lambda: _bytes(O200K, inverted=True)),
    "deepseek": ("deepseek-v3", lambda: _bytes(DEEPSEEK)),
    "gemma": ("default", _gemma),
    "phi 3": ("default", _phi3),
    "llama 2": ("default", lambda: _pieces(legacy=True)),
    "llama 2, no space before": ("default", lambda: _pieces(legacy=True, space="never", before=None)),
    "mistral": ("default", lambda: _pieces(legacy=False, space="first")),
    "mistral, no space before": ("default", lambda: _pieces(legacy=False, space="never")),
}
"""By a name, llama.cpp's word for how each cuts a text, and what makes it."""


def make_folder(name: str, folder: Path) -> Any:
    """Write a tokenizer's folder; returns the tokenizer as the library reads it from there."""
    from tokenizers import Tokenizer

    make_tokenizer_folder(folder)
    TOKENIZERS[name][1]().save(str(folder / "tokenizer.json"))
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
