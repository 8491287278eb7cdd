"""Folders whose files say different tokenizers: what is trained is what the library makes, and so is what is left."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import training_run as tr
from tiny_model import make_tiny_model

from tunesmith.errors import InvalidModel
from tunesmith.lifecycle import State
from tunesmith.rows.tokens.library_ids import (
    BUILT,
    BUILT_OTHERWISE,
    CLASS_IGNORED,
    CLASS_OF_TYPE,
    FILE_OF_TYPE,
    class_of,
    library_ids,
    parts_of,
)
from tunesmith.rows.tokens.same_ids import first_difference, sample_texts

BEGIN = "<|endoftext|>"


def change(file: Path, **values: Any) -> None:
    found = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({key: value for key, value in (found | values).items() if value != "-"}))


def of_type(kind: str, tokenizer_class: str | None = None) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        """As a model of another type, whose tokenizer the library builds by itself."""
        change(folder / "config.json", model_type=kind)
        change(folder / "tokenizer_config.json", tokenizer_class=tokenizer_class or "-")

    return do


def config(**values: Any) -> Callable[[Path], None]:
    return lambda folder: change(folder / "tokenizer_config.json", **values)


def added(content: str, number: int) -> dict[str, Any]:
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    return {"added_tokens_decoder": {str(number): {"content": content} | flags}}


def file_alone(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()


def other_vocabulary(folder: Path) -> None:
    parts = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(
        json.dumps({text: i for i, text in enumerate(reversed(parts["vocab"]))})
    )
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")


def two_templates(folder: Path) -> None:
    change(folder / "tokenizer_config.json", chat_template="{{ messages[0]['content'] }} other")


def other_names(folder: Path) -> None:
    change(folder / "special_tokens_map.json", eos_token="<|endoftext|>", bos_token="<|im_start|>")


def post_processor(folder: Path) -> None:
    """`tokenizer.json` puts a begin mark, the configuration says that there is none."""
    mark = {"SpecialToken": {"id": BEGIN, "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    change(
        folder / "tokenizer.json",
        post_processor={
            "type": "TemplateProcessing", "single": [mark, text], "pair": [mark, text],
            "special_tokens": {BEGIN: {"id": BEGIN, "ids": [0], "tokens": [BEGIN]}},
        },
    )  # fmt: skip
    change(folder / "tokenizer_config.json", add_bos_token=False, bos_token=BEGIN)


def single_digits(folder: Path) -> None:
    """Digits one by one, as SmolLM2's file says, under a class that knows nothing of it."""
    parts = json.loads((folder / "tokenizer.json").read_text())
    digits = {"type": "Digits", "individual_digits": True}
    both = {"type": "Sequence", "pretokenizers": [digits, parts["pre_tokenizer"]]}
    # A word of two digits, so that it matters whether they are split.
    words, merges = parts["model"]["vocab"], parts["model"]["merges"]
    last = max(words, key=lambda word: words[word] if word not in ("1", "2") else -1)
    words["12"] = words.pop(last)
    parts["model"]["merges"] = [
        ["1", "2"],
        *(merge for merge in merges if last not in ("".join(merge), *merge)),
    ]
    change(folder / "tokenizer.json", pre_tokenizer=both, model=parts["model"])
    change(folder / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")


WAYS: dict[str, Callable[[Path], None]] = {
    "as it was": lambda folder: None,
    "qwen2": of_type("qwen2", "PreTrainedTokenizerFast"),
    "qwen3 without a class": of_type("qwen3"),
    "gpt_neox without a class": of_type("gpt_neox"),
    "opt without a class": of_type("opt"),
    "a class that is built anew": config(tokenizer_class="Qwen2Tokenizer"),
    "LlamaTokenizer with bytes": config(tokenizer_class="LlamaTokenizer"),
    "tokenizer.json alone": file_alone,
    "vocab.json of another model": other_vocabulary,
    "an added token": config(**added("lazy", 900)),
    "an added token beyond the end": config(**added("<|tool|>", 1000)),
    "a begin mark by the configuration": config(add_bos_token=True, bos_token=BEGIN),
    "marks on both sides": config(add_bos_token=True, add_eos_token=True, bos_token=BEGIN),
    "a begin mark by tokenizer.json": post_processor,
    "a space put first": config(add_prefix_space=True),
    "a template in two places": two_templates,
    "special_tokens_map.json of another model": other_names,
    "digits of their own": single_digits,
    "extra special tokens": config(extra_special_tokens=["fox", "brown"]),
}
SAME = {"as it was", "opt without a class", "tokenizer.json alone", "vocab.json of another model",
        "a template in two places", "special_tokens_map.json of another model", "a space put first",
        "LlamaTokenizer with bytes", "a begin mark by the configuration", "marks on both sides",
        "a begin mark by tokenizer.json"}  # fmt: skip
"""Where the library takes `tokenizer.json` as it is, whatever the other files say."""
BEYOND = ("an added token", "an added token beyond the end", "extra special tokens")
"""They give ids that the small model has no row for."""
QUICK = ("qwen2", "qwen3 without a class", "a begin mark by tokenizer.json")


def library(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def ids(made: Any) -> Any:
    return lambda text, marks: list(made(text, add_special_tokens=marks)["input_ids"])


@pytest.mark.parametrize("way", WAYS)
def test_the_library_decides_a_folders_ids(tmp_path: Path, way: str) -> None:
    from tokenizers import Tokenizer

    from tunesmith_jobs.models.library_tokenizer import library_tokenizer

    folder = make_tiny_model(tmp_path / "model")
    WAYS[way](folder)
    found = library_tokenizer(folder, None, tmp_path, is_adapter=True)
    assert (found.difference is None) is (way in SAME), found
    taken = Tokenizer.from_file(str((found.folder or folder) / "tokenizer.json"))
    own = lambda text, marks: taken.encode(text, add_special_tokens=marks).ids  # noqa: E731
    assert first_difference(own, ids(library(folder)), library(folder).all_special_tokens) is None
    if found.difference is not None:
        assert "`tokenizer.json` gives" in found.words
        assert found.warning().code == "tokenizer_rebuilt"  # type: ignore[union-attr]
    told = library_ids(folder)
    assert (told is None) is (way in SAME), "what counts without the library says so, in the same folders"
    if told is not None:
        assert told.difference is not None
        assert told.difference.text == found.difference.text  # type: ignore[union-attr]
        assert told.difference.other == found.difference.other  # type: ignore[union-attr]
        assert "whose ids are others" in told.finding().message


def test_the_classes_that_the_library_picks_are_known_without_it(tmp_path: Path) -> None:
    """By each type of a language model, without a class and with one: held against the library's own choice."""
    from transformers.models.auto import tokenization_auto as auto
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as TYPES

    generic = {None, "TokenizersBackend", "PreTrainedTokenizerFast", "PythonBackend", "MistralCommonBackend"}
    others = {"xlm-roberta-xl", "bert-generation"}  # its class needs sentencepiece, which is not installed
    for kind in set(TYPES) - others:
        own = auto.TOKENIZER_MAPPING_NAMES.get(kind)
        ignored = kind in auto.MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS
        assert class_of({"model_type": kind}, {}, has_bytes=True) == (None if own in generic else own), kind
        assert (kind in FILE_OF_TYPE) is (own is not None and own in generic), kind
        if kind in CLASS_OF_TYPE:
            assert (kind in CLASS_IGNORED) is ignored, kind
    for name in (*BUILT, *BUILT_OTHERWISE):
        made = auto.tokenizer_class_from_name(name)
        assert made is None or made.__name__ not in generic, name
    known = {name for name in auto.TOKENIZER_MAPPING_NAMES.values() if name}
    missing = {
        own
        for kind in TYPES
        if (own := auto.TOKENIZER_MAPPING_NAMES.get(kind)) not in (*generic, *BUILT, *BUILT_OTHERWISE)
    }
    assert known
    assert not missing


@pytest.mark.parametrize("space", [None, True, False])
@pytest.mark.parametrize("name", BUILT)
def test_the_parts_that_the_library_builds_are_known_without_it(name: str, space: bool | None) -> None:
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    settings = {} if space is None else {"add_prefix_space": space}
    words = {word: i for i, word in enumerate(("<unk>", "<s>", "</s>", "<bos>", "<eos>", "<pad>", "<mask>"))}
    made = tokenizer_class_from_name(name)(vocab=words, merges=[], **settings)
    parts = json.loads(made.backend_tokenizer.to_str())
    ours = parts_of(name, settings)
    assert parts["normalizer"] == ours["normalizer"]
    assert parts["pre_tokenizer"] == ours["pre_tokenizer"]
    assert {key: parts["model"][key] for key in ours["model"]} == ours["model"]


def test_counts_that_go_by_the_file_say_so(tmp_path: Path) -> None:
    """Preview, report and the estimate's findings: quiet where the library's ids are the file's."""
    from tunesmith.rows.report.preview import preview
    from tunesmith.rows.report.validation import validate
    from tunesmith.spec.training import TrainSpec
    from tunesmith_platform.sandbox import work

    rows = tr.write_lines(tmp_path / "rows.jsonl", [{"text": "cafe\u0301 one two three"}] * 2)
    spec = TrainSpec(model_name_or_path="m", train_file="f", text_column="text")

    def said(folder: Path) -> list[set[str]]:
        given = {
            "file": str(rows),
            "spec": spec.model_dump(mode="json"),
            "model": str(folder),
            "tokenizer": None,
        }
        of_estimate = json.loads(work.findings(given))
        return [
            {one.code for one in preview(rows, spec, folder).findings},
            {one.code for one in validate(rows, spec, model=folder).findings},
            {one["code"] for one in of_estimate},
        ]

    folder = make_tiny_model(tmp_path / "model")
    assert not any("ids_by_file" in codes for codes in said(folder))
    of_type("qwen2")(folder)
    assert all("ids_by_file" in codes for codes in said(folder))
    # A tokenizer of another folder counts, not the model's own.
    other = make_tiny_model(tmp_path / "other")
    assert "ids_by_file" not in {one.code for one in preview(rows, spec, folder, tokenizer=other).findings}
    # What is no part that is known may differ.
    of_type("roberta", "RobertaTokenizer")(other)
    told = library_ids(other)
    assert told is not None
    assert "may be others" in told.finding().message


@pytest.mark.parametrize(
    "way",
    [way if way in QUICK else pytest.param(way, marks=pytest.mark.long) for way in WAYS if way not in BEYOND],
)
@pytest.mark.parametrize("use_lora", [True, False], ids=["adapter", "whole"])
def test_trainer_card_and_library_give_the_same_ids(tmp_path: Path, way: str, use_lora: bool) -> None:
    """The ids of the trained rows are those of the library on the base, and of the trained folder by its card."""
    from tunesmith_jobs.batches.inputs import load_data
    from tunesmith_jobs.train import job

    base = make_tiny_model(tmp_path / "model")
    WAYS[way](base)
    if "model_type" in (kept := json.loads((base / "config.json").read_text())):
        # The weights stay a Llama's: what the type says of the tokenizer is asked of a folder beside it.
        tokenizer = make_tiny_model(tmp_path / "tokenizer")
        WAYS[way](tokenizer)
        change(base / "config.json", model_type="llama")
        named = tokenizer if kept["model_type"] != "llama" else None
    of_base = library(named or base)
    # One token alone trains nothing, and a text that has its begin mark itself gets none besides.
    texts = [
        text
        for text in sample_texts(["<|im_end|>", BEGIN])
        if text.strip() and not text.strip().startswith(BEGIN) and len(of_base(text)["input_ids"]) > 1
    ]
    rows = tr.write_lines(tmp_path / "rows.jsonl", [{"text": text} for text in texts])
    seen: list[list[int]] = []
    plain = load_data

    def look(*args: Any, **more: Any) -> Any:
        data = plain(*args, **more)
        seen.extend(data.rows[i].input_ids.tolist() for i in range(len(data.rows)))
        return data

    import tunesmith_jobs.batches.inputs as module

    patch = pytest.MonkeyPatch()
    patch.setattr(module, "load_data", look)
    if named is not None:
        made = job.Paths
        patch.setattr(job, "Paths", lambda **kept: made(**(kept | {"tokenizer": named})))
    try:
        outcome = tr.run(
            tmp_path, base, rows=rows, text_column="text", max_steps=1, use_lora=use_lora, max_length=512,
            save_strategy="no",
        )  # fmt: skip
    finally:
        patch.undo()
    assert outcome.outcome is State.COMPLETED, outcome
    of_card = library(tmp_path / "artifacts" / "model")
    for text, trained in zip(texts, seen, strict=True):
        found = of_base(text)["input_ids"]
        assert of_card(text)["input_ids"] == found
        # Every document ends with the end of text, once.
        assert trained in (found, [*found, trained[-1]]), text


def test_a_tokenizer_that_the_library_cannot_load_is_refused(tmp_path: Path) -> None:
    from tunesmith_jobs.models.library_tokenizer import library_tokenizer

    folder = make_tiny_model(tmp_path / "model")
    of_type("gemma")(folder)  # whose tokenizer wants a token that this one has not
    with pytest.raises(InvalidModel, match="cannot use the tokenizer"):
        library_tokenizer(folder, None, tmp_path)
    change(folder / "tokenizer_config.json", tokenizer_class="AutoModelForCausalLM")
    with pytest.raises(InvalidModel, match="which is none"):
        library_tokenizer(folder, None, tmp_path)


def test_the_check_says_where_ids_differ_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tunesmith_jobs.models.library_tokenizer import main

    folder = make_tiny_model(tmp_path / "model")
    main(str(folder))
    assert json.loads(capsys.readouterr().out)["words"] == ""
    of_type("qwen2")(folder)
    main(str(folder))
    said = json.loads(capsys.readouterr().out)
    assert "the text '" in said["words"]
    assert "token " in said["words"]
    assert "save_pretrained" in said["cure"]
