"""The data of each training type is looked at when a task is submitted, and refused where the fault lies."""

import json
from pathlib import Path
from typing import Any

import pytest
from model_files import make_model_folder

from tunesmith.errors import InvalidInput
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks.inputs import TrainInputs, check_train_inputs

TEXT = {"text": "A document."}
LABELLED = [{"text": "x", "label": "a"}, {"text": "y", "label": "b"}]
CHAT = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}


def submit(folder: Path, rows: list[Any], held_out: list[Any] | None = None, **spec: Any) -> TrainInputs:
    model = make_model_folder(folder / "model") if not (folder / "model").exists() else folder / "model"
    given = {"model_name_or_path": str(model), "train_file": str(folder / "train.jsonl"), "use_lora": False}
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if held_out is not None:
        (folder / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held_out))
        given["eval_file"] = str(folder / "eval.jsonl")
    return check_train_inputs(
        TrainSpec.read(given | spec), Settings(home=folder / "home", allowed_roots=[folder])
    )


@pytest.mark.parametrize(
    ("rows", "spec"),
    [
        ([CHAT, CHAT], {}),
        ([TEXT, TEXT], {}),
        ([TEXT, TEXT], {"training_type": "pretrain"}),
        (LABELLED, {"training_type": "classification"}),
        ([{"a": "q", "b": "r"}] * 2, {"prompt_column": "a", "response_column": "b"}),
        ([CHAT, CHAT], {"assistant_only_loss": False, "chat_template": "chatml"}),
    ],
)
def test_what_is_taken(tmp_path: Path, rows: list[Any], spec: dict[str, Any]) -> None:
    assert submit(tmp_path, rows, **spec).rows == 2


@pytest.mark.parametrize(
    ("rows", "spec", "place", "said"),
    [
        ([TEXT, CHAT], {"training_type": "pretrain"}, "spec.train_file: train.jsonl:2", "`text` is missing"),
        ([CHAT], {"training_type": "pretrain"}, "spec.train_file: train.jsonl", "only `messages`"),
        ([TEXT], {"training_type": "classification"}, "spec.train_file: train.jsonl", "no column `label`"),
        (LABELLED[:1], {"training_type": "classification"}, "spec.train_file: label", "same class"),
        ([CHAT], {"chat_template": "gemma"}, "spec.chat_template", "<start_of_turn>"),
        ([CHAT], {"chat_template": "chatlm"}, "spec.chat_template", "no built-in template"),
        ([CHAT], {"tokenizer_name_or_path": "nobody/knows"}, "spec.tokenizer_name_or_path", "no model"),
        ([{"a": "b"}], {"prompt_column": "c"}, "spec.train_file: train.jsonl", "no column `c`"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, rows: list[Any], spec: dict[str, Any], place: str, said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        submit(tmp_path, rows, **spec)
    assert caught.value.problems[0].field == place
    assert said in caught.value.problems[0].message
    assert caught.value.problems[0].hint


def test_an_evaluation_file_has_no_class_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="`c`") as caught:
        submit(tmp_path, LABELLED, [{"text": "x", "label": "c"}], training_type="classification")
    assert caught.value.problems[0].field == "spec.eval_file: eval.jsonl"


def test_another_tokenizer_is_resolved(tmp_path: Path) -> None:
    other = make_model_folder(tmp_path / "other")
    found = submit(tmp_path, [CHAT], tokenizer_name_or_path=str(other))
    assert found.tokenizer_path == str(other)
