"""From tokens to text: whole characters, stop texts cut exactly, logprobs beside their text."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import SPECIAL_TOKENS, make_tokenizer

from tunesmith_serve.engine import Drawn
from tunesmith_serve.text import AnswerText, Decoding

_TEXTS = [
    "你好,世界!今天天气很好。",
    "🙂 e\u0301 Ünïcode  two  spaces\n\n\ttab",
    "plain",
    " leading",
    "\ufffd is a character too",
]


def byte_level() -> Any:
    return make_tokenizer()


def bytes_alone() -> Any:
    """Every character but ASCII is several tokens."""
    return make_tokenizer(["abc def"], 300)


def sentence_piece() -> Any:
    """As Llama's first: a mark for the space before a word, bytes for what is unknown."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    vocabulary = [
        "<unk>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *"abcdeghilnopstwx",
        "▁t",
        "▁tw",
    ]
    tokenizer = Tokenizer(
        models.BPE(
            {text: number for number, text in enumerate(vocabulary)},
            [("▁", "t"), ("▁t", "w")],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


_TOKENIZERS = {"byte-level": byte_level(), "bytes alone": bytes_alone(), "SentencePiece": sentence_piece()}


def streamed(tokenizer: Any, ids: list[int], stops: list[str] | None = None) -> tuple[str, list[str], int]:
    """The text, its pieces, and the number of tokens that were taken until it ended."""
    answer = AnswerText(tokenizer, stops or [])
    pieces, taken = [], 0
    for number in ids:
        taken += 1
        pieces.append(answer.add(Drawn(number)).text)
        if answer.is_stopped:
            return "".join(pieces), pieces, taken
    pieces.append(answer.finish().text)
    return "".join(pieces), pieces, taken


@pytest.mark.parametrize("name", _TOKENIZERS)
@pytest.mark.parametrize("text", _TEXTS)
def test_pieces_add_up_to_what_the_tokenizer_says_of_all(name: str, text: str) -> None:
    tokenizer = _TOKENIZERS[name]
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    whole, pieces, _ = streamed(tokenizer, ids)
    assert whole == tokenizer.decode(ids, skip_special_tokens=True)
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces), "a part of a character was given out"


@settings(deadline=None, max_examples=150)
@given(name=st.sampled_from(sorted(_TOKENIZERS)), text=st.text(max_size=40))
def test_that_holds_for_any_text(name: str, text: str) -> None:
    tokenizer = _TOKENIZERS[name]
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert streamed(tokenizer, ids)[0] == tokenizer.decode(ids, skip_special_tokens=True)


def test_an_answer_may_end_inside_of_a_character() -> None:
    tokenizer = _TOKENIZERS["bytes alone"]
    ids = tokenizer.encode("好", add_special_tokens=False).ids
    assert len(ids) == 3
    assert streamed(tokenizer, ids[:2])[0] == tokenizer.decode(ids[:2])


def test_an_unfinished_character_says_nothing_of_those_before_it() -> None:
    """A decoder with byte fallback writes a whole run of bytes as broken where its last one is."""
    tokenizer = _TOKENIZERS["SentencePiece"]
    ids = tokenizer.encode("好好", add_special_tokens=False).ids[:-2]
    assert streamed(tokenizer, ids)[0] == "好\ufffd"


def test_bytes_that_are_no_character_hold_up_nothing_for_long() -> None:
    tokenizer = _TOKENIZERS["bytes alone"]
    broken = tokenizer.encode("好", add_special_tokens=False).ids[1]
    decoding = Decoding(tokenizer)
    said = [decoding.add(broken) for _ in range(8)]
    assert any(said[:4])


def test_control_tokens_are_not_said() -> None:
    tokenizer = _TOKENIZERS["byte-level"]
    pad = tokenizer.token_to_id(SPECIAL_TOKENS[3])
    ids = tokenizer.encode("Paris.", add_special_tokens=False).ids
    assert streamed(tokenizer, [pad, *ids, pad])[0] == "Paris."


@pytest.mark.parametrize("name", _TOKENIZERS)
@pytest.mark.parametrize(
    ("text", "stops", "said"),
    [
        ("one two three", ["two"], "one "),
        ("one two three", [" tw"], "one"),
        ("one two three", ["o t", "three"], "one tw"),
        ("abcd", ["abcd", "bc"], "a"),  # what is complete first
        ("abcd", ["bcd", "cd"], "a"),  # of two that end together, the one that begins first
        ("one two three", ["four"], "one two three"),
        ("a b", ["b"], "a "),
        ("天气很好", ["很"], "天气"),
    ],
)
def test_a_stop_text_cuts_whatever_the_tokens_are(name: str, text: str, stops: list[str], said: str) -> None:
    tokenizer = _TOKENIZERS[name]
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert streamed(tokenizer, ids, stops)[0] == said


@pytest.mark.parametrize("stops", [["abcd", "bc"], ["bc", "abcd"]])
def test_the_stop_text_that_is_complete_first_cuts_also_within_one_token(stops: list[str]) -> None:
    tokenizer = make_tokenizer(["abcd abcd abcd"], 300)
    ids = tokenizer.encode("abcd", add_special_tokens=False).ids
    assert len(ids) == 1
    assert streamed(tokenizer, ids, stops)[0] == "a"


def test_what_may_begin_a_stop_text_waits_and_comes_when_it_does_not() -> None:
    tokenizer = _TOKENIZERS["bytes alone"]
    ids = tokenizer.encode("a<end!", add_special_tokens=False).ids
    text, pieces, _ = streamed(tokenizer, ids, ["<end>"])
    assert text == "a<end!"
    assert pieces[0] == "a"
    assert "<end!" in pieces


def test_nothing_more_is_drawn_behind_a_stop_text() -> None:
    tokenizer = _TOKENIZERS["bytes alone"]
    ids = tokenizer.encode("xy and more", add_special_tokens=False).ids
    assert streamed(tokenizer, ids, ["y"])[2] == 2


@pytest.mark.parametrize("stops", [[], ["rld"], ["so"]])
def test_logprobs_stand_beside_the_text_that_is_given_out(stops: list[str]) -> None:
    tokenizer = _TOKENIZERS["bytes alone"]
    ids = tokenizer.encode("你 so world", add_special_tokens=False).ids
    answer = AnswerText(tokenizer, stops, top=2)
    outs = []
    for place, number in enumerate(ids):
        outs.append(answer.add(Drawn(number, -0.5 - place, ((number, -0.5 - place), (ids[0], -9.0)))))
        if answer.is_stopped:
            break
    else:
        outs.append(answer.finish())
    for out in outs:
        assert "".join(one.text for one in out.logprobs) == out.text
        assert len(out.logprobs) == out.tokens
    told = [one for out in outs for one in out.logprobs]
    assert [one.id for one in told] == ids[: len(told)]
    assert told[0].logprob == -0.5
    assert all(len(one.top) == 2 for one in told)
    space = next(one for one in told if one.text == " ")
    assert space.top[0].text == " "


def test_another_token_is_said_as_it_would_stand_there() -> None:
    tokenizer = _TOKENIZERS["SentencePiece"]
    answer = AnswerText(tokenizer, [], top=1)
    ids = tokenizer.encode("one two", add_special_tokens=False).ids
    word = tokenizer.token_to_id("▁tw")
    outs = [answer.add(Drawn(number, -1.0, ((word, -2.0),))) for number in ids[:3]]
    assert [one.top[0].text for out in outs for one in out.logprobs] == ["tw", " tw", " tw"]
