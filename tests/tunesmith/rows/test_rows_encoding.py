"""The label mask: exactly the answers and their end marks are trained, whatever people write and templates do."""

import json
from functools import cache
from pathlib import Path

import chat_templates as zoo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import CHATML, SPECIAL_TOKENS, TEXTS, make_tokenizer, make_tokenizer_folder
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tunesmith.errors import InvalidData, InvalidModel
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.template import ChatTemplate
from tunesmith.rows.chat.turns import Message
from tunesmith.rows.files.reading import read_rows
from tunesmith.rows.tokens.encode_rows import encode_file, encode_rows, first_trainable
from tunesmith.rows.tokens.encoding import IGNORE_INDEX, Encoded, Encoder
from tunesmith.rows.tokens.tokenizer_file import load_tokenizer

NAMES = {"bos_token": "<s>", "eos_token": "</s>"}


@cache
def tokenizer() -> Tokenizer:
    made = make_tokenizer()
    made.add_special_tokens(zoo.EXTRA_TOKENS)
    # As many models ship it; left alone, it would move the edges of the mask.
    made.post_processor = processors.ByteLevel(trim_offsets=True)
    return made


@cache
def encoder(source: str = CHATML, max_length: int = 10_000) -> Encoder:
    return Encoder(ChatTemplate(source, NAMES), tokenizer(), max_length)


def text_of(ids: list[int]) -> str:
    return tokenizer().decode(ids, skip_special_tokens=False)


def runs(encoded: Encoded) -> list[str]:
    """The text of each stretch of trained tokens."""
    found: list[list[int]] = []
    previous = IGNORE_INDEX
    for label in encoded.labels:
        if label != IGNORE_INDEX:
            if previous == IGNORE_INDEX:
                found.append([])
            found[-1].append(label)
        previous = label
    return [text_of(run) for run in found]


def talk(*contents: str, system: str | None = None) -> list[Message]:
    """User and assistant in turn."""
    turns = [Message(("user", "assistant")[i % 2], content) for i, content in enumerate(contents)]
    return ([Message("system", system)] if system is not None else []) + turns


THOUGHT = "<think>\nhm\n</think>\n\nYes."


@pytest.mark.parametrize(
    ("source", "messages", "expected"),
    [
        (CHATML, talk("Hi", "Ho", "Hu", "Ha", system="S"), ["Ho<|im_end|>", "Ha<|im_end|>"]),
        (CHATML, talk("Hi", "Ho", "the last turn is a question"), ["Ho<|im_end|>"]),
        (CHATML, talk("Ho", "Ho", "Ho", "Ho"), ["Ho<|im_end|>", "Ho<|im_end|>"]),
        (CHATML, [Message("assistant", "first")], ["first<|im_end|>"]),
        (
            CHATML,
            [Message("tool", "42"), Message("assistant", "a"), Message("assistant", "b")],
            ["a<|im_end|>", "b<|im_end|>"],
        ),
        (CHATML, talk("q", "ends in lines\n\n"), ["ends in lines\n\n<|im_end|>"]),
        (zoo.CHATML_DEFAULT_SYSTEM, talk("Hi", "Ho", "Hu", "Ha"), ["Ho<|im_end|>", "Ha<|im_end|>"]),
        (zoo.CHATML_DEFAULT_SYSTEM, [Message("assistant", "first")], ["first<|im_end|>"]),
        (zoo.CHATML_GENERATION, talk("Hi", "Ho", "Hu", "Ha"), ["Ho<|im_end|>", "Ha<|im_end|>"]),
        (zoo.LLAMA3, talk("Hi", " Ho ", "Hu", "Ha\n", system="S"), ["Ho<|eot_id|>", "Ha<|eot_id|>"]),
        (zoo.GEMMA, talk("Hi", " Ho ", "Hu", "model"), ["Ho<end_of_turn>", "model<end_of_turn>"]),
        (zoo.LLAMA2, talk("Hi", "Ho", "Hu", "Ha"), [" Ho </s>", " Ha </s>"]),
        # What the history keeps of an earlier answer, and all that the model writes of the last.
        (zoo.THINKING, talk("a", THOUGHT, "b", THOUGHT), ["Yes.<|im_end|>", THOUGHT + "<|im_end|>"]),
        (
            zoo.THINKING,
            talk("a", "No.", "b", "Yes."),
            ["No.<|im_end|>", "<think>\n\n</think>\n\nYes.<|im_end|>"],
        ),
        (zoo.OPENED_THOUGHT, talk("a", "No.", "b", "Yes."), ["No.<|im_end|>", "Yes.<|im_end|>"]),
        (
            zoo.OTHER_LAST_MARK,
            talk("a", "final", "b", "final"),
            ["<|channel|>final<|message|>final<|end|>", "<|channel|>final<|message|>final<|return|>"],
        ),
        (zoo.ALPACA, talk("a", "No.", "b", "Yes."), ["No.", "Yes.\n\n</s>"]),
        (zoo.NO_END_MARK, talk("a", "No.", "b", "Yes."), ["No.", "Yes."]),
        (zoo.MARK_AT_THE_END, talk("a", "No.", "b", "Yes."), ["No.", "Yes. </s>"]),
        (
            zoo.SPACED_HEADER,
            talk("a", "The", "b", " The", "c", "\nThe"),
            [" The</s>", " The</s>", "\nThe</s>"],
        ),
        (zoo.REVERSED, talk("a", "No.", "b", "Yes."), ["Yes.<|end|>", "No.<|end|>"]),
    ],
)
def test_what_is_trained(source: str, messages: list[Message], expected: list[str]) -> None:
    encoded = encoder(source).encode(messages)
    assert runs(encoded) == expected
    assert len(encoded.labels) == len(encoded.input_ids)
    assert encoded.needed == next(i for i, label in enumerate(encoded.labels) if label != IGNORE_INDEX) + 1
    assert all(
        label in (IGNORE_INDEX, number)
        for label, number in zip(encoded.labels, encoded.input_ids, strict=True)
    )
    template = encoder(source).template
    assert text_of(encoded.input_ids) == template.render(
        [{"role": m.role, "content": m.content} for m in messages]
    )


def test_weight_zero_is_read_but_not_trained() -> None:
    messages = [
        Message("user", "a"),
        Message("assistant", "b", 0),
        Message("user", "c"),
        Message("assistant", "d", 1),
    ]
    assert runs(encoder().encode(messages)) == ["d<|im_end|>"]


SOURCES = {name: text for name, text in vars(zoo).items() if name.isupper() and isinstance(text, str)}


@pytest.mark.parametrize("name", SOURCES)
def test_a_forged_answer_in_a_question_is_never_trained(name: str) -> None:
    """Whatever a template writes round an answer may stand in a question, and opens nothing."""
    source = SOURCES[name]
    template = ChatTemplate(source, NAMES)
    real = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "FORGED"}]
    forged = template.render(real)
    for question in (forged, forged * 2, forged.partition("a")[2], forged.rpartition("FORGED")[0], "FORGED"):
        encoded = encoder(source).encode(talk(question, "Right.", question + "FORGED", "Good."))
        assert len(runs(encoded)) == 2
        assert "FORGED" not in "".join(runs(encoded))
        assert sorted(word for word in ("Right.", "Good.") for run in runs(encoded) if word in run) == [
            "Good.",
            "Right.",
        ]


PIECES = ["<|im_end|>", "<|im_start|>assistant\n", "<|im_start|>", "<|endoftext|>", "</s>", "<|im_", "end|>"]
PIECES += [
    "\n",
    "\n\n",
    "  ",
    " ",
    "user",
    "é",
    "世界",
    "🎉",
    "👩‍👩‍👧",
    chr(0xF0000),
    chr(0xF0001),
    "a",
    "Paris.",
]
TEXT = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20),
)
TURN = st.tuples(
    st.sampled_from(["system", "user", "tool", "assistant", "assistant"]), TEXT, st.sampled_from([0, 1, 1])
)


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    turns = [Message(*turn) for turn in draw(st.lists(TURN, max_size=5))] + [Message("assistant", draw(TEXT))]
    turns = [
        turn._replace(content=turn.content + "." if turn.role == "assistant" else turn.content)
        for turn in turns
    ]
    return [turn if turn.role == "assistant" else turn._replace(weight=1) for turn in turns]


def holds_for(messages: list[Message], encoded: Encoded) -> None:
    answers = [
        message.content + "<|im_end|>"
        for message in messages
        if message.role == "assistant" and message.weight
    ]
    found = runs(encoded)
    assert len(found) == len(answers)
    for answer, trained in zip(answers, found, strict=True):
        assert answer.endswith(trained)
        # A token that the header's newline shares with the answer's leading white space belongs to the header.
        assert answer[: len(answer) - len(trained)].strip() == ""
        assert trained == answer or answer[0].isspace()
    template = encoder().template
    rendered = template.render([{"role": message.role, "content": message.content} for message in messages])
    assert text_of(encoded.input_ids) == rendered
    # The template's own marks, and no others, are control tokens.
    controls = [text_of([number]) for number in encoded.input_ids if number < len(SPECIAL_TOKENS)]
    assert controls == ["<|im_start|>", "<|im_end|>"] * len(messages)


@given(conversations())
@settings(max_examples=400, deadline=None)
def test_trained_tokens_spell_the_answers(messages: list[Message]) -> None:
    holds_for(messages, encoder().encode(messages))


@given(st.lists(conversations(), max_size=4))
@settings(max_examples=50, deadline=None)
def test_a_batch_gives_what_single_rows_give(batch: list[list[Message]]) -> None:
    assert encoder().encode_batch(batch) == [encoder().encode(messages) for messages in batch]


@given(conversations(), st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_the_cut(messages: list[Message], max_length: int) -> None:
    whole = encoder().encode(messages)
    cut = Encoder(encoder().template, tokenizer(), max_length).encode(messages)
    assert cut.input_ids == whole.input_ids[:max_length]
    assert cut.labels == whole.labels[:max_length]
    assert cut.cut == max(0, len(whole.input_ids) - max_length)
    assert cut.has_label == any(label != IGNORE_INDEX for label in cut.labels)
    assert cut.needed == whole.needed
    assert whole.labels[whole.needed - 1] != IGNORE_INDEX
    assert set(whole.labels[: whole.needed - 1]) <= {IGNORE_INDEX}


@pytest.mark.parametrize("source", [zoo.CHATML_GENERATION, CHATML])
@pytest.mark.slow
def test_agrees_with_transformers(tmp_path: Path, source: str) -> None:
    """Same ids as transformers; same mask as its `{% generation %}` marks give."""
    from transformers import AutoTokenizer

    folder = make_tokenizer_folder(tmp_path, template=source)
    theirs = AutoTokenizer.from_pretrained(folder)
    ours = Encoder.from_folder(folder, 10_000)
    for messages in (
        talk("Hi", "Ho"),
        talk("What is 1 + 1?", "2\n\nIt is 2. 🎉", "你好", "世界", system="Be short."),
        talk("q", "a " * 200, "q"),
    ):
        encoded = ours.encode(messages)
        expected = theirs.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in messages],
            return_dict=True,
            return_assistant_tokens_mask=source is zoo.CHATML_GENERATION,
        )
        assert encoded.input_ids == expected["input_ids"]
        if source is zoo.CHATML_GENERATION:
            assert [int(label != IGNORE_INDEX) for label in encoded.labels] == expected["assistant_masks"]


def sentence_piece(prepend: str) -> Tokenizer:
    """A tokenizer that writes a space before a text, as SentencePiece's do."""
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend)
    made.decoder = decoders.Metaspace(prepend_scheme=prepend)
    special = ["<unk>", "<s>", "</s>"]
    made.train_from_iterator(
        [*TEXTS, "[INST] [/INST] < / s >"],
        trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False),
    )
    return made


@pytest.mark.parametrize(("prepend", "is_refused"), [("always", True), ("first", True), ("never", False)])
def test_a_lookalike_is_plain_text_or_refused(prepend: str, is_refused: bool) -> None:
    made = sentence_piece(prepend)
    one = Encoder(ChatTemplate(zoo.LLAMA2, {**NAMES, "unk_token": "<unk>"}), made, 1000)
    end = made.token_to_id("</s>")
    plain = one.encode(talk("the dog", "a fox"))
    assert plain.input_ids.count(end) == 1
    assert [label for label in plain.labels if label != IGNORE_INDEX][-1] == end
    result = one.try_batch([talk("the </s> dog", "a </s> fox")])[0]
    if is_refused:
        assert isinstance(result, RowProblem)
        assert "`</s>`" in result.message
        assert result.hint
    else:
        assert isinstance(result, Encoded)
        assert result.input_ids.count(end) == 1
        text = "<s>[INST] the </s> dog [/INST] a </s> fox </s>"
        assert made.decode(result.input_ids, skip_special_tokens=False) == text


def test_a_named_end_token_without_its_flag_is_one_token() -> None:
    """What `tokenizer_config.json` calls the end token is special, whatever `tokenizer.json` says."""
    parts = json.loads(tokenizer().to_str())
    parts["added_tokens"] = [token for token in parts["added_tokens"] if token["content"] != "<|im_end|>"]
    template = ChatTemplate(CHATML, {"eos_token": "<|im_end|>"})
    encoded = Encoder(template, Tokenizer.from_str(json.dumps(parts)), 100).encode(talk("a", "b"))
    assert encoded == encoder().encode(talk("a", "b"))


def test_a_control_token_made_by_a_normalizer_is_refused() -> None:
    made = make_tokenizer()
    made.normalizer = normalizers.Lowercase()
    from tokenizers import AddedToken

    made.add_special_tokens([AddedToken("<|stop|>", special=True, normalized=True)])
    one = Encoder(ChatTemplate(CHATML.replace("<|im_end|>", "<|stop|>")), made, 1000)
    assert one.encode(talk("stop", "stop")).has_label
    with pytest.raises(RowProblem, match="as a control token"):
        one.encode(talk("<|STOP|>", "stop"))


def test_rows_that_cannot_be_encoded() -> None:
    with pytest.raises(RowProblem, match="System role not supported"):
        encoder(zoo.GEMMA).encode(talk("a", "b", system="s"))
    with pytest.raises(RowProblem, match="hides or rewrites every answer"):
        encoder("{% for m in messages %}{{ m.role }}{% endfor %}").encode(talk("a", "b"))
    with pytest.raises(RowProblem, match="hides or rewrites every answer"):
        encoder("{% for m in messages %}{{ m.content }}|{{ m.content }}{% endfor %}").encode(talk("a", "b"))
    with pytest.raises(RowProblem, match="surrogate"):
        encoder().encode(talk("a", "\ud800b"))
    with pytest.raises(RowProblem, match="has only 10 tokens"):
        Encoder(ChatTemplate(CHATML), tokenizer(), 100, vocab_size=10).encode(talk("a", "b"))


def test_bad_rows_do_not_disturb_their_batch() -> None:
    good = talk("a", "b")
    first, bad, last = encoder(zoo.GEMMA).try_batch([good, talk("a", "b", system="s"), good])
    assert isinstance(bad, RowProblem)
    assert first == last == encoder(zoo.GEMMA).encode(good)


def write(folder: Path, rows: list[dict[str, object]]) -> Path:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_encode_rows_and_file(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"instruction": "Say", "input": str(i), "output": "No. " * i} for i in range(1, 600)
    ]
    path = write(tmp_path, rows)
    found = list(encode_file(path, encoder()))
    assert [number for number, _ in found] == list(range(1, 600))
    assert runs(found[2][1]) == ["No. No. No. <|im_end|>"]
    assert list(encode_rows(read_rows(path), encoder())) == found


def test_a_refused_row_is_named(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"instruction": "q", "output": "a"}] * 300
    rows[279] = {"instruction": "q", "output": "a", "system": "s"}
    rows[285] = {"instruction": "q"}
    seen = []
    with pytest.raises(InvalidData) as caught:
        seen += [number for number, _ in encode_file(write(tmp_path, rows), encoder(zoo.GEMMA))]
    assert caught.value.problems[0].field == "train.jsonl:280"
    with pytest.raises(InvalidData) as caught:
        list(encode_file(write(tmp_path, rows), encoder()))
    assert caught.value.problems[0].field == "train.jsonl:286"


def test_a_file_without_a_label_is_refused_with_the_length_it_needs(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"instruction": "long " * n, "output": "a"} for n in (30, 20, 40)]
    path = write(tmp_path, rows)
    with pytest.raises(InvalidData) as caught:
        first_trainable(path, encoder(CHATML, 16))
    needed = min(encoded.needed for _, encoded in encode_file(path, encoder()))
    assert caught.value.problems[0].field == "train.jsonl:1"
    assert f"at least {needed};" in (caught.value.hint or "")
    assert first_trainable(path, Encoder(encoder().template, tokenizer(), needed)) == 2
    with pytest.raises(InvalidData):
        first_trainable(path, Encoder(encoder().template, tokenizer(), needed - 1))
    with pytest.raises(InvalidData, match="first 1 rows"):
        first_trainable(path, Encoder(encoder().template, tokenizer(), needed), limit=1)


def test_tokenizer_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="does not exist"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidModel, match="is broken"):
        load_tokenizer(tmp_path)
