"""Small tokenizers with the rules of published ones: how they cut texts, what they join, what they put around. No test
itself."""

import random
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny_model import SPECIAL_TOKENS, TEXTS, make_tokenizer_folder

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
WORDS = 600
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
    before: str | None = None,
    after: str | None = None,
) -> Any:
    """A tokenizer of bytes.

    Args:
        cut: What cuts a text before `ByteLevel`, or None where that does.
        normalizer: What changes texts first.
        whole: Whether a piece that is a word is taken whole.
        before: A mark before every text.
        after: And behind it.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    steps = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not isinstance(cut, str))
    if isinstance(cut, str):
        cut = pre_tokenizers.Split(Regex(cut), "isolated")
    made = Tokenizer(models.BPE(ignore_merges=whole))
    made.pre_tokenizer = pre_tokenizers.Sequence([cut, steps]) if cut else steps
    made.decoder = decoders.ByteLevel()
    if normalizer:
        made.normalizer = normalizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(
        TEXTS,
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
