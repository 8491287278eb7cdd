"""The words of a GGUF file are the folder's: real llama.cpp makes the ids that `tokenizer.json` makes."""

import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import gguf_tokenizers
import llama_cpp
import pytest
from tiny_model import CHATML, make_tiny_model

from tunesmith.errors import NotConvertible
from tunesmith.gguf import FileType, plan_gguf, write_gguf
from tunesmith.gguf.text_rules import CUTS_AT_MARKS, has_marks
from tunesmith.rows.tokens.same_ids import sample_texts


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("gguf-words") / "model", hidden=32, layers=1)


FIRST = "pre_tokenizer.prepend_scheme"


def spaced(text: str, tokenizer: Any) -> str:
    """As the notice says it: a space before a text that begins with a word."""
    marks = tuple(token.content for token in tokenizer.get_added_tokens_decoder().values())
    return text if not text or text.startswith((" ", "▁", *marks)) else f" {text}"


def texts_for(tokenizer: Any) -> list[str]:
    marks = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    return [*sample_texts(marks), *gguf_tokenizers.mixed_texts()]


@pytest.mark.parametrize("name", gguf_tokenizers.TOKENIZERS)
def test_llama_cpp_makes_the_same_ids(name: str, model: Path, tmp_path: Path) -> None:
    tokenizer = gguf_tokenizers.make_folder(name, tmp_path / "words")
    texts = texts_for(tokenizer)
    assert len(texts) > 350
    if tokenizer.normalizer is not None and "NFC" in str(tokenizer.normalizer):
        texts = [text for text in texts if unicodedata.is_normalized("NFC", text)]
    written = write_gguf(model, tmp_path / "model.gguf", FileType.F32, tokenizer=tmp_path / "words")
    fields = [notice.field for notice in written.notices]
    if CUTS_AT_MARKS in fields:
        texts = [text for text in texts if not has_marks(text)]
    asked = [spaced(text, tokenizer) if FIRST in fields else text for text in texts]
    found = llama_cpp.ask(written.path, texts=asked)
    for around, with_marks in (("plain", False), ("around", True)):
        for text, ids in zip(texts, found[around], strict=True):
            assert ids == tokenizer.encode(text, add_special_tokens=with_marks).ids, (around, text)
    pre = plan_gguf(model, tokenizer=tmp_path / "words").metadata["tokenizer.ggml.pre"]
    assert pre == gguf_tokenizers.TOKENIZERS[name][0]
    assert tokenizer.token_to_id("<|im_end|>") in found["facts"]["ends"]
    assert found["facts"]["template"] == CHATML


def test_marks_on_letters_that_are_cut_at_are_said(model: Path, tmp_path: Path) -> None:
    tokenizer = gguf_tokenizers.make_folder("tekken", tmp_path / "words")
    written = write_gguf(model, tmp_path / "model.gguf", FileType.F32, tokenizer=tmp_path / "words")
    assert [notice.field for notice in written.notices] == [CUTS_AT_MARKS]
    text = gguf_tokenizers.HINDI
    assert has_marks(text)
    found = llama_cpp.ask(written.path, texts=[text])["plain"][0]
    assert found != tokenizer.encode(text).ids, "it takes them with their letters now: the notice can go"


@pytest.mark.parametrize("name", ["my-phi3-tune", "Phi-3.5"])
def test_a_model_s_name_changes_no_ids(name: str, model: Path, tmp_path: Path) -> None:
    """llama.cpp knows what marks take away by a model's name alone, and does not load a file without the marks."""
    folder = shutil.copytree(model, tmp_path / name)
    tokenizer = gguf_tokenizers.make_folder("gpt-2", tmp_path / "words")
    written = write_gguf(folder, tmp_path / "model.gguf", FileType.F32, tokenizer=tmp_path / "words")
    text = "<|im_start|> user \n<|im_end|> \n"
    assert llama_cpp.ask(written.path, texts=[text])["plain"][0] == tokenizer.encode(text).ids


def test_texts_that_are_not_put_together_are_said(model: Path, tmp_path: Path) -> None:
    """llama.cpp knows no normalizer: the file says for which texts that makes a difference."""
    tokenizer = gguf_tokenizers.make_folder("qwen2", tmp_path / "words")
    written = write_gguf(model, tmp_path / "model.gguf", FileType.F32, tokenizer=tmp_path / "words")
    assert [notice.field for notice in written.notices] == ["normalizer"]
    text = unicodedata.normalize("NFD", "café")
    found = llama_cpp.ask(written.path, texts=[text])["plain"][0]
    assert found != tokenizer.encode(text).ids, "it puts them together now: the notice can go"


def change(folder: Path, **parts: Any) -> None:
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | parts))


def pieces(**space: Any) -> dict[str, Any]:
    """Parts of a tokenizer of characters, with other rules for spaces."""
    made = json.loads(gguf_tokenizers.TOKENIZERS["mistral"][1]().to_str())
    return made | {"pre_tokenizer": made["pre_tokenizer"] | space}


def test_rules_that_llama_cpp_does_not_have_are_refused(model: Path, tmp_path: Path) -> None:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": r"\d+|\D+"}, "behavior": "Isolated", "invert": False}
    template = {
        "type": "TemplateProcessing", "pair": [],
        "single": [{"SpecialToken": {"id": "<|pad|>", "type_id": 0}}] * 2 + [{"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"<|pad|>": {"id": "<|pad|>", "ids": [3], "tokens": ["<|pad|>"]}},
    }  # fmt: skip
    mark = {"id": 2, "content": "<|im_end|>", "single_word": False, "lstrip": True, "rstrip": False,
            "normalized": False, "special": True}  # fmt: skip
    for field, parts in {
        "pre_tokenizer": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]}},
        "normalizer": {"normalizer": {"type": "Lowercase"}},
        "decoder": {"decoder": None},
        "post_processor": {"post_processor": template},
        "added_tokens": {"added_tokens": [mark]},
        FIRST: pieces(prepend_scheme="always"),
        "added_tokens, twice": {"added_tokens": [mark | {"id": 300, "content": "<mark>", "lstrip": False}]},
        "model.type": {"model": {"type": "Unigram", "vocab": [["<unk>", 0.0]], "unk_id": 0}},
    }.items():
        folder = tmp_path / field
        gguf_tokenizers.make_folder("gpt-2", folder)
        change(folder, **parts)
        with pytest.raises(NotConvertible) as error:
            plan_gguf(model, tokenizer=folder)
        assert error.value.problems[0].field == field.partition(",")[0]
        assert error.value.hint


def test_words_beyond_the_models_rows_are_refused(model: Path, tmp_path: Path) -> None:
    tokenizer = gguf_tokenizers.make_folder("gpt-2", tmp_path / "words")
    tokenizer.add_tokens([f"<extra {number}>" for number in range(200)])
    tokenizer.save(str(tmp_path / "words" / "tokenizer.json"))
    with pytest.raises(NotConvertible, match="has rows for"):
        plan_gguf(model, tokenizer=tmp_path / "words")


def test_runs_that_grow_otherwise_are_refused(model: Path, tmp_path: Path) -> None:
    gguf_tokenizers.make_folder("gemma", tmp_path / "words")
    parts = json.loads((tmp_path / "words" / "tokenizer.json").read_text())["model"]
    change(tmp_path / "words", model=parts | {"merges": [*parts["merges"][3:], *parts["merges"][:3]]})
    with pytest.raises(NotConvertible, match="runs of"):
        plan_gguf(model, tokenizer=tmp_path / "words")


def test_merges_that_a_score_cannot_say_are_refused(model: Path, tmp_path: Path) -> None:
    """llama.cpp joins whatever makes a word; a tokenizer that does not would get other ids."""
    gguf_tokenizers.make_folder("llama 2", tmp_path / "words")
    parts = json.loads((tmp_path / "words" / "tokenizer.json").read_text())["model"]
    change(tmp_path / "words", model=parts | {"merges": parts["merges"][:-1]})
    with pytest.raises(NotConvertible) as error:
        plan_gguf(model, tokenizer=tmp_path / "words")
    assert error.value.problems[0].field == "model.merges"
