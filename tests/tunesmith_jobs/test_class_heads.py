"""Classifiers: what the estimate counts is what is trained, and an adapter of one is the same in another process."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import make
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

from tunesmith.errors import InvalidModel
from tunesmith.model_folder import check_model_folder
from tunesmith.model_folder.architectures import KNOWN, NO_CLASSIFIER
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.models import build
from tunesmith_jobs.models.precision import choose
from tunesmith_jobs.models.reading import load_model
from tunesmith_platform.backends.compute import Compute
from tunesmith_platform.estimates.formula import trainable_parameters
from tunesmith_platform.estimates.lora_shape import as_the_file_says
from tunesmith_platform.estimates.run import lora_fields
from tunesmith_platform.estimates.shapes import model_shape, setting_of

CLASSES = ("a", "b", "c")
QUICK = (
    "llama",
    "opt",
    "bert",
    "rembert",
    "roberta",
    "electra",
    "modernbert-decoder",
    "xlm",
    "gptj",
    "gpt_oss",
)
"""One of each kind of head, and of what is left out of the base."""
STARTS: list[dict[str, Any]] = [
    {"target_modules": "all-linear"},
    {"target_modules": "all-linear", "bias": "all"},
    {"use_lora": False},
]
STACKED = ["experts.gate_up_proj", "mlp.experts.down_proj"]
FILES: list[dict[str, Any]] = [
    {"r": 4, "target_modules": ["q_proj"], "lora_bias": True},
    {"r": 4, "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    {"r": 4, "target_modules": ["q_proj"], "target_parameters": STACKED},
    {"r": 4, "target_modules": ["q_proj"], "target_parameters": ["layers.1.mlp.experts.down_proj"]},
]


def spec_of(base: Path, training_type: str, start: dict[str, Any]) -> TrainSpec:
    given = {"model_name_or_path": str(base), "train_file": "/t", "precision": "fp32"}
    return TrainSpec.read(given | {"training_type": training_type} | start)


def counts(base: Path, training_type: str, start: dict[str, Any]) -> tuple[int, int]:
    """The trained numbers by the estimate and by the job."""
    spec = spec_of(base, training_type, start)
    labels = CLASSES if training_type == "classification" else None
    config = json.loads((base / "config.json").read_text())
    numbers = {name: value for name, value in config.items() if type(value) is int}
    fields = lora_fields(spec)
    read = as_the_file_says(spec, fields)
    shape = model_shape(check_model_folder(base), numbers, read, fields, len(labels or ()))
    trained, _ = build.trainable_parameters(build.load(base, spec, choose(spec), labels))
    return trainable_parameters(shape, setting_of(read, Compute(), "cpu", 64)), trained


@pytest.mark.parametrize(
    "kind",
    [
        *QUICK,
        *(
            pytest.param(kind, marks=pytest.mark.long)
            for kind in ("megatron-bert", "ernie", "camembert", "qwen3_moe")
        ),
    ],
)
def test_the_estimate_counts_a_classifiers_head(tmp_path: Path, kind: str) -> None:
    assert kind in KNOWN - NO_CLASSIFIER
    base = make(kind, tmp_path / "model")
    wrong = [
        (start, found)
        for start in STARTS
        if (found := counts(base, "classification", start)) and found[0] != found[1]
    ]
    assert wrong == []


def test_an_untied_head_of_words_is_no_part_of_a_classifier(tmp_path: Path) -> None:
    base = make("llama", tmp_path / "model", tie_word_embeddings=False)
    for start in STARTS:
        counted, trained = counts(base, "classification", start)
        assert counted == trained, start


@pytest.mark.parametrize("kind", ["qwen3_moe", "gpt_oss"])
def test_biases_whole_modules_and_experts_of_a_file_are_counted(tmp_path: Path, kind: str) -> None:
    base = make(kind, tmp_path / "model")
    for number, fields in enumerate(FILES):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(fields))
        for training_type in ("sft", "classification"):
            counted, trained = counts(base, training_type, {"peft_config_path": str(file)})
            assert counted == trained, (fields, training_type)


def test_a_tensor_that_the_files_do_not_show_is_said_not_to_be_counted(tmp_path: Path) -> None:
    base = make("jamba", tmp_path / "model")
    fields = {"r": 4, "target_modules": ["q_proj"], "target_parameters": ["experts.blocks", STACKED[0]]}
    shape = model_shape(check_model_folder(base), {}, spec_of(base, "sft", {}), fields)
    assert shape.uncounted == ("experts.blocks",)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([[5, 7, 9, 11]])).logits


@pytest.mark.parametrize("kind", QUICK)
def test_an_adapter_of_a_classifier_is_the_same_over_another_draw_of_its_head(
    tmp_path: Path, kind: str
) -> None:
    base = make(kind, tmp_path / "model")
    spec = spec_of(base, "classification", {"target_modules": "all-linear"})
    torch.manual_seed(1)
    tuned = build.load(base, spec, choose(spec), CLASSES)
    tuned.save_pretrained(tmp_path / "adapter")
    wanted = logits(tuned)
    torch.manual_seed(2)
    plain = AutoModelForSequenceClassification.from_pretrained(str(base), num_labels=len(CLASSES))
    plain.config.pad_token_id = tuned.config.pad_token_id
    again = PeftModel.from_pretrained(plain, str(tmp_path / "adapter"))
    assert torch.allclose(logits(again), wanted, atol=1e-6)


def test_a_file_that_lacks_more_than_a_head_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base = make("llama", tmp_path / "model")
    tensors = load_file(base / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidModel, match="up_proj"):
        load_model(base, CLASSES)
