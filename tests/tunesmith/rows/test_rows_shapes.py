"""Which columns are trained: found by themselves, named by the user, or refused with the names that are there."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_model import CHATML, make_tokenizer_folder

from tunesmith.errors import InvalidData, InvalidInput, InvalidModel
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.builtin_templates import BUILT_IN
from tunesmith.rows.chat.template import ChatTemplate
from tunesmith.rows.chat.turns import Message
from tunesmith.rows.choosing import encoder_of
from tunesmith.rows.files.reading import RowFile, read_rows
from tunesmith.rows.labels import check_classes, check_known, sort_classes
from tunesmith.rows.report.checking import check_file
from tunesmith.rows.shapes import Shape, Text, shape_of
from tunesmith.rows.tokens.encode_rows import encode_file, first_trainable
from tunesmith.rows.tokens.encoding import IGNORE_INDEX, Encoder
from tunesmith.rows.tokens.texts import TextEncoder
from tunesmith.spec.training import TrainSpec

PAIR = [Message("user", "q"), Message("assistant", "a")]
CHAT = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}


def spec(**more: Any) -> TrainSpec:
    return TrainSpec.read({"model_name_or_path": "/m", "train_file": "/t", "use_lora": True} | more)


def write(folder: Path, *rows: dict[str, Any] | str, name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("asked", "row", "sample"),
    [
        ({}, CHAT, PAIR),
        ({}, {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, PAIR),
        ({}, {"instruction": "q", "input": "", "output": "a"}, PAIR),
        ({}, {"prompt": "q", "response": "a", "text": "x"}, PAIR),
        ({}, {"question": "q", "answer": "a", "system": "s"}, [Message("system", "s"), *PAIR]),
        ({}, {"text": "whole"}, Text("whole")),
        ({"prompt_column": "ask", "response_column": "say"}, {"ask": "q", "say": "a", "text": "x"}, PAIR),
        ({"prompt_column": "ask"}, {"ask": "q", "completion": "a"}, PAIR),
        (
            {"prompt_column": "ask", "response_column": "say", "system_column": "s"},
            {"ask": "q", "say": "a", "s": "be"},
            [Message("system", "be"), *PAIR],
        ),
        ({"text_column": "body"}, CHAT | {"body": "whole"}, Text("whole")),
        ({"training_type": "pretrain"}, {"content": "doc"}, Text("doc")),
        ({"training_type": "pretrain", "text_column": "b"}, {"text": "x", "b": "doc"}, Text("doc")),
        ({"training_type": "classification"}, {"text": "x", "label": 3}, Text("x", "3")),
        (
            {"training_type": "classification", "text_column": "a", "label_column": "b"},
            {"a": "x", "b": " good "},
            Text("x", "good"),
        ),
    ],
)
def test_where_the_sample_is(tmp_path: Path, asked: dict[str, Any], row: dict[str, Any], sample: Any) -> None:
    file = RowFile(write(tmp_path, row))
    assert shape_of(file, spec(**asked)).read(row) == sample


@pytest.mark.parametrize(
    ("asked", "row", "said", "cure"),
    [
        ({"prompt_column": "promt"}, {"prompt": "q", "response": "a"}, "`prompt`, `response`", "`prompt`"),
        ({"prompt_column": "q"}, {"q": "a", "b": "c"}, "it has `q`, `b`", "`response_column`"),
        ({"training_type": "pretrain"}, CHAT, "only `messages`", "training_type=sft"),
        ({"training_type": "pretrain"}, {"body": "x"}, "only `body`", "`text_column`"),
        ({"training_type": "classification"}, {"text": "x"}, "no column `label`", "`label_column`"),
        ({"training_type": "classification"}, {"x": "x", "label": 1}, "no column `text`", "`text_column`"),
    ],
)
def test_nothing_fits(
    tmp_path: Path, asked: dict[str, Any], row: dict[str, Any], said: str, cure: str
) -> None:
    with pytest.raises(InvalidData) as caught:
        shape_of(RowFile(write(tmp_path, row)), spec(**asked))
    assert said in caught.value.message
    assert cure in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("shape", "row", "said"),
    [
        (Shape("pair", prompt="p", response="r"), {"p": "q"}, "`r` is missing; the row has `p`"),
        (Shape("pair", prompt="p", response="r"), {"p": "q", "r": [1]}, "a list, not a string"),
        (Shape("pair", prompt="p", response="r"), {"p": " ", "r": "a"}, "`p` is empty"),
        (
            Shape("pair", prompt="p", response="r", system="s"),
            {"p": "q", "r": "a", "s": 1},
            "`s` is a number",
        ),
        (Shape("text", text="t"), {"t": None}, "missing or `null`"),
        (Shape("labelled", text="t", label="c"), {"t": "x"}, "`c` is missing or `null`"),
        (Shape("labelled", text="t", label="c"), {"t": "x", "c": 0.5}, "`c` is a number"),
        (Shape("labelled", text="t", label="c"), {"t": "x", "c": True}, "`c` is a boolean"),
        (Shape("labelled", text="t", label="c"), {"t": "x", "c": " "}, "`c` is empty"),
    ],
)
def test_bad_rows(shape: Shape, row: dict[str, Any], said: str) -> None:
    with pytest.raises(RowProblem) as caught:
        shape.read(row)
    assert said in caught.value.message
    assert caught.value.hint


def test_plain_text_is_one_document_a_line(tmp_path: Path) -> None:
    path = write(tmp_path, "one", "", "  [two]  ", "{three", name="a.txt")
    assert list(read_rows(path)) == [
        (1, {"text": "one"}),
        (3, {"text": "  [two]  "}),
        (4, {"text": "{three"}),
    ]
    assert RowFile(path).place(3) == "a.txt:3"
    assert RowFile(write(tmp_path, {"text": "x"}, name="b.txt")).format == "jsonl"
    assert RowFile(write(tmp_path, "[1] a footnote", name="c.txt")).format == "text"
    (tmp_path / "d.txt").write_bytes(b"good\n\xff\n")
    with pytest.raises(InvalidData, match=r"d\.txt:2.*byte 5 "):
        list(read_rows(tmp_path / "d.txt"))


def test_classes_are_found_and_numbered(tmp_path: Path) -> None:
    rows = [{"text": "x", "label": label} for label in (10, 9, -1, 9)]
    facts = check_file(write(tmp_path, *rows), shape=Shape("labelled", text="text", label="label"))
    assert facts.classes == ("-1", "9", "10")
    assert sort_classes(["b", "a", "10", "9"]) == ("10", "9", "a", "b")
    with pytest.raises(InvalidData, match="same class, `a`"):
        check_classes(["a"])
    with pytest.raises(InvalidData, match="more than 1000"):
        check_classes([str(i) for i in range(1001)])
    with pytest.raises(InvalidData, match="`c`, `d`"):
        check_known(["a", "d", "c"], ["a", "b"], "eval.jsonl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_tokenizer_folder(tmp_path_factory.mktemp("tokenizer") / "chat")
    make_tokenizer_folder(made.parent / "base", template=None)
    return made


def test_a_text_is_trained_whole_and_ends(folder: Path) -> None:
    encoder = TextEncoder.from_folder(folder, 8)
    end = 2  # <|im_end|>
    short, long, ended = encoder.try_batch([Text("Hi"), Text("a b c d e f g h i j"), Text("Hi<|im_end|>")])
    assert not isinstance(short, RowProblem)
    assert not isinstance(long, RowProblem)
    assert short.input_ids[-1] == end
    assert short.labels == [IGNORE_INDEX, *short.input_ids[1:]]
    assert (len(long.input_ids), long.cut > 0) == (8, True)
    assert ended == short
    whole = TextEncoder.from_folder(folder, None).try_batch([Text("a b c d e f g h i j")])[0]
    assert not isinstance(whole, RowProblem)
    assert whole.cut == 0
    classed = TextEncoder.from_folder(folder, 4, classify=True).try_batch([Text("a b c d e f", "x")])[0]
    assert not isinstance(classed, RowProblem)
    assert (len(classed.input_ids), classed.label, classed.cut > 0) == (4, "x", True)
    assert end not in classed.input_ids


@pytest.mark.parametrize(
    ("single", "marks"),
    [("<|im_start|> $A", (1, None)), ("<|im_start|> $A <|im_end|>", (1, 2)), ("$A <|im_end|>", (None, 2))],
)
@pytest.mark.parametrize("text", ["Hi", "<|im_start|>Hi", "Hi<|im_end|>", "<|im_start|>Hi<|im_end|>"])
@pytest.mark.parametrize("classify", [False, True])
def test_a_text_has_each_mark_once(
    tmp_path: Path, folder: Path, single: str, marks: tuple[int | None, int | None], text: str, classify: bool
) -> None:
    """A row that was rendered elsewhere has the marks that the tokenizer puts around every text."""
    from tokenizers import Tokenizer, processors

    shutil.copytree(folder, tmp_path / "model")
    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    special = [(name, made.token_to_id(name)) for name in ("<|im_start|>", "<|im_end|>")]
    made.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
    made.save(str(tmp_path / "model" / "tokenizer.json"))
    (found,) = TextEncoder.from_folder(tmp_path / "model", 20, classify=classify).try_batch([Text(text)])
    assert not isinstance(found, RowProblem)
    ids = dict(special)
    plain = made.encode("Hi", add_special_tokens=False).ids
    begins = marks[0] is not None or text.startswith("<")
    ends = marks[1] is not None or text.endswith(">") or not classify
    expected = [ids["<|im_start|>"]] * begins + plain + [ids["<|im_end|>"]] * ends
    assert found.input_ids == expected


@pytest.mark.parametrize("single", ["$A", "<|im_start|> $A", "<|im_start|> $A <|im_end|>"])
@pytest.mark.parametrize(
    "text",
    [
        "<|im_start|>Hi<|im_end|>\n", "\n<|im_start|>Hi<|im_end|>  \n", " <|im_start|>Hi<|im_end|>",
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>\n\n",
    ],
)  # fmt: skip
def test_white_space_around_a_texts_own_marks_makes_no_second_ones(
    tmp_path: Path, folder: Path, single: str, text: str
) -> None:
    """Templates write a line break behind the last turn; whoever rendered a row may have left it there."""
    from tokenizers import Tokenizer, processors

    shutil.copytree(folder, tmp_path / "model")
    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    special = [(name, made.token_to_id(name)) for name in ("<|im_start|>", "<|im_end|>")]
    made.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
    made.save(str(tmp_path / "model" / "tokenizer.json"))
    (found,) = TextEncoder.from_folder(tmp_path / "model", 200).try_batch([Text(text)])
    assert not isinstance(found, RowProblem)
    assert found.input_ids == made.encode(text, add_special_tokens=False).ids


def test_a_classifiers_text_that_is_cut_keeps_the_tokenizers_own_end(tmp_path: Path, folder: Path) -> None:
    from tokenizers import Tokenizer, processors

    shutil.copytree(folder, tmp_path / "model")
    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    made.post_processor = processors.TemplateProcessing(
        single="$A <|im_end|>", special_tokens=[("<|im_end|>", 2)]
    )
    made.save(str(tmp_path / "model" / "tokenizer.json"))
    encoder = TextEncoder.from_folder(tmp_path / "model", 5, classify=True)
    (found,) = encoder.try_batch([Text("a b c d e f g h<|im_end|>", "x")])
    assert not isinstance(found, RowProblem)
    assert (len(found.input_ids), found.input_ids[-1]) == (5, 2)


def test_each_type_gets_its_encoder(tmp_path: Path, folder: Path) -> None:
    path = write(tmp_path, {"text": "word " * 300})
    for asked, has_cut in (({}, True), ({"training_type": "pretrain"}, False)):
        made = spec(max_length=128, **asked)
        shape = shape_of(RowFile(path), made)
        encoder = encoder_of(made, shape, folder)
        assert first_trainable(path, encoder, shape=shape) == 1
        assert (next(encode_file(path, encoder, shape))[1].cut > 0) == has_cut


def test_the_whole_conversation_is_trained_but_what_has_weight_0(folder: Path) -> None:
    talk = [
        Message("user", "one"), Message("assistant", "two", 0), Message("user", "three"),
        Message("assistant", "four"),
    ]  # fmt: skip
    encoder = Encoder.from_folder(folder, 100, whole=True)
    answers = Encoder.from_folder(folder, 100).encode(talk)
    encoded = encoder.encode(talk)
    assert encoded.input_ids == answers.input_ids
    decode = encoder._tokenizer.decode
    left_out = [i for i, label in zip(encoded.input_ids, encoded.labels, strict=True) if label < 0]
    assert decode(left_out, skip_special_tokens=False) == "two<|im_end|>"
    unweighted = encoder.encode([message._replace(weight=1) for message in talk])
    assert unweighted.labels == unweighted.input_ids


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_built_in_templates_mark_every_answer(name: str) -> None:
    from tiny_model import make_tokenizer

    tokenizer = make_tokenizer()
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    tokenizer.add_special_tokens([*names.values(), *BUILT_IN[name].tokens])
    talk = [
        Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Ho"), Message("user", "Hu"),
        Message("assistant", "Ha"),
    ]  # fmt: skip
    encoded = Encoder(ChatTemplate(BUILT_IN[name].source, names), tokenizer, 500).encode(talk)
    trained = tokenizer.decode([i for i in encoded.labels if i >= 0], skip_special_tokens=False)
    end = {"llama3": "<|eot_id|>", "mistral": "</s>", "gemma": "<end_of_turn>"}.get(name, "<|im_end|>")
    assert trained.replace(" ", "") == f"Ho{end}Ha{end}"
    assert "Be brief." in tokenizer.decode(encoded.input_ids)


def test_a_template_is_chosen_by_name_or_path(tmp_path: Path, folder: Path) -> None:
    base = folder.parent / "base"
    with pytest.raises(InvalidModel) as none:
        Encoder.from_folder(base, 100)
    assert "`chatml`, `qwen`, `mistral`" in (none.value.hint or "")
    assert Encoder.from_folder(base, 100, chat_template="chatml").template.source == BUILT_IN["chatml"].source
    with pytest.raises(InvalidInput, match="<start_of_turn>") as unfit:
        Encoder.from_folder(base, 100, chat_template="gemma")
    assert "`chatml`" in (unfit.value.hint or "")
    with pytest.raises(InvalidInput, match="no built-in template `chatlm`"):
        Encoder.from_folder(base, 100, chat_template="chatlm")
    file = tmp_path / "mine.jinja"
    file.write_text(CHATML)
    assert Encoder.from_folder(base, 100, chat_template=str(file)).template.source == CHATML
    with pytest.raises(InvalidModel, match="cannot be read"):
        Encoder.from_folder(base, 100, chat_template=str(tmp_path / "none.jinja"))


def test_another_tokenizer_brings_its_template(folder: Path) -> None:
    base = folder.parent / "base"
    assert Encoder.from_folder(base, 100, tokenizer=folder).template.source == CHATML
    assert Encoder.from_folder(folder, 100, tokenizer=base).template.source == CHATML
