"""Words are encoded as the library encodes the whole text, whatever text and tokenizer; else it is left to it."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_model import TEXTS, make_tokenizer
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers

from tunesmith.rows.tokens.bpe_cache import _SPLITS, WordTokenizer
from tunesmith.rows.tokens.token_edges import edge_among

GPT_2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
KINDS: dict[str, tuple[Any, Any]] = {
    "gpt-2": (GPT_2, None),
    "smollm2": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT_2]), None),
    "llama-3": (pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(_SPLITS[0]), "isolated"), BYTES]), None),
    "qwen-2": (
        pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(_SPLITS[1]), "isolated"), BYTES]),
        normalizers.NFC(),
    ),
}


def made(kind: str) -> Tokenizer:
    tokenizer = make_tokenizer()
    tokenizer.pre_tokenizer, normalizer = KINDS[kind]
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.post_processor = None
    return tokenizer


MADE = {kind: made(kind) for kind in KINDS}
WORDS = {kind: WordTokenizer.of(tokenizer) for kind, tokenizer in MADE.items()}
PARTS = [
    *" \t\n\r\x0b\x0c\x85\xa0\u2028\u3000\x1c\x00'", "  ", "\r\n", "'s", "'LL", "'ſ", "it's", "don't", "<|im_start|>",
    "<|im_end|>\n", "<|im_en", "12345", "１２", "½", "x²", "é", "e\u0301", "ﬁ", "Ω", "世界", "数据 3", "🎉", "👩‍👧",
    "‘quoted’", "–", "…", "İ", "ß", "ـ", "\u200d", "\ufeff", "\U0001e900", "word", "Word,", "(a+b)", "===", "_x_",
    "    f()",
]  # fmt: skip
TEXT = st.one_of(
    st.lists(st.one_of(st.sampled_from(PARTS), st.sampled_from(TEXTS)), max_size=12).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40).map(
        "plain words around it, {} and so on".format
    ),
)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(text=TEXT)
@example("Sure!\n\n 'twas 3 o'clock – we'll see…")
@example("  \x1c  ")  # a space to Python, none to the library
def test_words_give_the_librarys_tokens(kind: str, text: str) -> None:
    words = WORDS[kind]
    assert words is not None
    found = words.encode(text)
    if found is None:
        return
    whole = MADE[kind].encode(text, add_special_tokens=False)
    assert found.ids == whole.ids
    for char in range(len(text) + 1):
        first, before = edge_among(whole.offsets, char)
        assert found.edge(char)[0] == first
        # Where a character is several tokens, none of them ends behind it.
        assert text[char : found.edge(char)[1]].strip() == text[char:before].strip()


@pytest.mark.parametrize("kind", KINDS)
def test_what_people_write_is_taken_word_by_word(kind: str) -> None:
    words = WORDS[kind]
    assert words is not None
    assert words.encode("<|im_start|>user\nIt's – well – “fine”, say 12 people…<|im_end|>\n") is not None
    assert words.encode("微调模型需要数据、时间和耐心。") is None  # seldom the same words again


def test_other_tokenizers_are_left_to_the_library() -> None:
    parts = json.loads(make_tokenizer().to_str())
    for change in (
        {"normalizer": {"type": "Lowercase"}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": parts["pre_tokenizer"] | {"add_prefix_space": True}},
        {"model": parts["model"] | {"dropout": 0.1}},
    ):
        assert WordTokenizer.of(Tokenizer.from_str(json.dumps(parts | change))) is None
    greedy = make_tokenizer()
    greedy.add_tokens([AddedToken("<x>", lstrip=True)])
    assert WordTokenizer.of(greedy) is None
    mixed = make_tokenizer()
    mixed.add_tokens([AddedToken("<y>", normalized=True)])
    words = WordTokenizer.of(mixed)
    assert words is not None
    assert words.encode("a <y> b") is None
    assert words.encode("a b") is not None


def test_words_that_differ_from_the_library_are_left_to_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An encoder holds its words to the library's ids before it uses them, and says where they differ first."""
    from tiny_model import CHATML, make_tokenizer

    from tunesmith.rows.chat.template import ChatTemplate
    from tunesmith.rows.tokens import bpe_cache
    from tunesmith.rows.tokens.encoding import Encoder

    names = {"eos_token": "<|im_end|>"}
    assert Encoder(ChatTemplate(CHATML, names), make_tokenizer(), 64)._words is not None
    monkeypatch.setattr(bpe_cache, "_GPT_2", bpe_cache._GPT_2.replace(" ?[0-9]+", "[0-9]"))
    assert Encoder(ChatTemplate(CHATML, names), make_tokenizer(), 64)._words is None
    assert "by words gives" in caplog.text
