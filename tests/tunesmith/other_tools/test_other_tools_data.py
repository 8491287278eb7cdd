"""Data sets as LLaMA-Factory, Axolotl and ModelCompose name or describe them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tool_files import AXOLOTL, LLAMA_FACTORY, given

from tunesmith.cli.given import GivenTraining
from tunesmith.errors import InvalidInput
from tunesmith.other_tools.reading import read_document
from tunesmith.spec.training import TrainSpec


def described(tmp_path: Path, info: dict[str, Any], **document: Any) -> GivenTraining:
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(info))
    return given(tmp_path, LLAMA_FACTORY | {"dataset_dir": str(tmp_path / "data")} | document)


def test_a_described_data_set_is_its_file(tmp_path: Path) -> None:
    training = described(tmp_path, {"mine": {"file_name": "m.json"}}, dataset="mine")
    assert training.parameters["train_file"] == str(tmp_path / "data" / "m.json")
    named = {"mine": {"file_name": "m.json", "columns": {"prompt": "q", "response": "a"}}}
    spec = TrainSpec.read(described(tmp_path, named, dataset="mine").parameters)
    assert (spec.prompt_column, spec.response_column) == ("q", "a")


def test_several_described_data_sets(tmp_path: Path) -> None:
    info = {
        "one": {"file_name": "1.json", "num_samples": 5},
        "two": {"hf_hub_url": "org/two", "subset": "en", "split": "test"},
        "talk": {"file_name": "t.json", "formatting": "sharegpt", "columns": {"messages": "conversations"}},
    }
    training = described(tmp_path, info, dataset="one, two,talk", max_samples=100)
    one, two, talk = training.sources["train_file"]
    assert (one.path, one.rows) == (str(tmp_path / "data" / "1.json"), 5)
    assert (two.path, two.is_hub, two.name, two.split, two.rows) == ("org/two", True, "en", "test", 100)
    assert (talk.rows, talk.weight) == (100, None)
    mixed = described(
        tmp_path, info, dataset="one,talk", mix_strategy="interleave_under", interleave_probs="0.7,0.3"
    )
    assert [source.weight for source in mixed.sources["train_file"]] == [0.7, 0.3]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"file_name": "m.json", "ranking": True}, "preferences"),
        (
            {"file_name": "m.json", "columns": {"kto_tag": "was_it_well"}},
            "keeps its `kto_tag` in `was_it_well`",
        ),
        ({"file_name": "m.json", "columns": {"tools": "utensils"}}, "keeps its `tools` in `utensils`"),
        ({"script_url": "scripts/x"}, "script"),
        ({"ms_hub_url": "x/y"}, "another hub"),
        ({"file_name": "m.json", "columns": {"images": "images"}}, "images"),
        ({"file_name": "m.json", "columns": {"messages": "talks"}}, "talks"),
        ({"file_name": "m.json", "formatting": "sharegpt", "tags": {"user_tag": "client"}}, "client"),
        ({}, "names no file"),
    ],
)
def test_a_description_that_means_something_else(tmp_path: Path, told: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        described(tmp_path, {"mine": told}, dataset="mine")


def test_an_unknown_name_says_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="it has `mine`"):
        described(tmp_path, {"mine": {"file_name": "m.json"}}, dataset="mime")


@pytest.mark.parametrize(
    ("strategy", "words"), [("interleave_over", "again and again"), ("concat", "no effect")]
)
def test_a_mix_that_is_not_made_here(tmp_path: Path, strategy: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        given(
            tmp_path,
            LLAMA_FACTORY
            | {"dataset": "a.json,b.json", "mix_strategy": strategy, "interleave_probs": "0.5,0.5"},
        )


def test_axolotls_lists(tmp_path: Path) -> None:
    document = AXOLOTL | {
        "datasets": [
            {"path": "org/talks", "type": "chat_template", "split": "train[:10%]", "field_messages": "conversations"},
            {"path": "json", "data_files": "/data/b.jsonl", "ds_type": "json", "type": "alpaca"},
            {"path": "/data/c.jsonl", "type": "chat_template", "message_property_mappings": {"role": "from"}},
        ],
        "test_datasets": [{"path": "/data/e.jsonl", "type": "alpaca", "split": "train"}],
        "val_set_size": 0,
    }  # fmt: skip
    training = given(tmp_path, document)
    first, second, third = training.sources["train_file"]
    assert (first.path, first.is_hub, first.split) == ("org/talks", True, "train[:10%]")
    assert (second.path, third.path) == ("/data/b.jsonl", "/data/c.jsonl")
    assert training.parameters["eval_file"] == "/data/e.jsonl"


def test_axolotl_pretrains_on_documents(tmp_path: Path) -> None:
    document = {name: value for name, value in AXOLOTL.items() if name not in ("datasets", "adapter")}
    document |= {
        "load_in_4bit": False,
        "pretraining_dataset": [{"path": "org/web", "name": "en", "type": "pretrain"}],
    }
    training = given(tmp_path, document)
    spec = TrainSpec.read(training.parameters)
    assert (spec.training_type, spec.use_lora) == ("pretrain", False)
    assert [(source.path, source.name) for source in training.sources["train_file"]] == [("org/web", "en")]


def test_our_own_files_and_simple_foundations_pass_as_they_are() -> None:
    for document in (
        {"learning_rate": 1e-4, "r": 8},
        {"model_name_or_path": "m", "lora_r": 16, "use_lora": True},
    ):
        found = read_document(document)
        assert (found.parameters, found.assumed, found.tool) == (document, {}, None)


MODEL_COMPOSE = """
components:
  - {id: loader, type: datasets, provider: huggingface, path: org/alpaca, split: train}
  - {id: trainer, type: model-trainer, task: sft, dataset: "${input.dataset}", num_epochs: 3, output_dir: ./output/x}
"""


def test_model_compose_brings_its_one_loader() -> None:
    found = read_document(yaml.safe_load(MODEL_COMPOSE))
    assert found.parameters["dataset"] == {"path": "hf://org/alpaca", "split": "train"}
    local = MODEL_COMPOSE.replace(
        "provider: huggingface, path: org/alpaca, split: train", "provider: local, data_files: ./d.json"
    )
    assert read_document(yaml.safe_load(local)).parameters["dataset"] == "./d.json"
    none = yaml.safe_load(MODEL_COMPOSE)
    none["components"].pop(0)
    assert "dataset" not in read_document(none).parameters
