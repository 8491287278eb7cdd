"""What the estimate counts from a model's files is what the job trains: every causal type, every way to begin."""

import json
from pathlib import Path
from typing import Any

import pytest
from architectures import is_small, make

from tunesmith.errors import InvalidInput
from tunesmith.model_folder import check_model_folder, inabilities
from tunesmith.model_folder.architectures import KNOWN
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.models import build
from tunesmith_jobs.models.precision import choose
from tunesmith_platform.backends.compute import Compute
from tunesmith_platform.estimates.formula import trainable_parameters
from tunesmith_platform.estimates.lora_shape import as_the_file_says
from tunesmith_platform.estimates.run import lora_fields
from tunesmith_platform.estimates.shapes import model_shape, setting_of

AUTO: dict[str, Any] = {"target_modules": "auto"}
STARTS: list[dict[str, Any]] = [
    AUTO,
    {"target_modules": "all-linear"},
    {"use_lora": False},
    {"target_modules": "all-linear", "bias": "all"},
    AUTO | {"bias": "lora_only"},
    AUTO | {"use_dora": True},
]
QUICK = ("electra", "rembert", "rwkv", "hrm_text", "inkling_text", "gpt2", "zaya", "minimax")
"""One of each kind: layers behind an embedding, a head that is called otherwise or not, layers in one matrix,
a router that is no layer, matrices that lie the other way, biases and buffers of many names."""


def count(base: Path, start: dict[str, Any]) -> tuple[int, int] | None:
    """The trained numbers by the estimate and by the job; None where the start is refused at submit."""
    facts = check_model_folder(base)
    config = json.loads((base / "config.json").read_text())
    numbers = {name: value for name, value in config.items() if type(value) is int}
    given = {"model_name_or_path": str(base), "train_file": "/t", "precision": "fp32"} | start
    spec = TrainSpec.read(given)
    if any(problem.field in start for problem in inabilities(facts, spec)):
        return None
    fields = lora_fields(spec)
    read = as_the_file_says(spec, fields)
    shape = model_shape(facts, numbers, read, fields)
    counted = trainable_parameters(shape, setting_of(read, Compute(), "cpu", 64))
    trained, _ = build.trainable_parameters(build.load(base, spec, choose(spec)))
    return counted, trained


def differing(base: Path) -> list[str]:
    """The starts at which the estimate counts something else than is trained."""
    found = [(start, count(base, start)) for start in STARTS]
    return [f"{start}: {one[0]} instead of {one[1]}" for start, one in found if one and one[0] != one[1]]


@pytest.mark.parametrize(
    "kind",
    [*QUICK, *(pytest.param(kind, marks=pytest.mark.long) for kind in sorted(KNOWN - set(QUICK)))],
)
def test_the_estimate_counts_what_is_trained(tmp_path: Path, kind: str) -> None:
    if kind == "moshi" or not is_small(kind):
        pytest.skip("no small model can be made of it")
    try:
        assert differing(make(kind, tmp_path / "model")) == []
    except InvalidInput as error:
        raise AssertionError(f"{kind}: {error}") from error


FILES: list[dict[str, Any]] = [
    {"target_modules": ["q_proj", "v_proj"]},
    {"r": 4, "target_modules": "all-linear", "use_dora": True},
    {"r": 4, "target_modules": "all-linear", "exclude_modules": ["down_proj"], "bias": "all"},
    {"r": 4, "target_modules": r".*layers\.1\..*(q|k)_proj"},
    {
        "r": 4,
        "target_modules": ["q_proj", "up_proj"],
        "rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 3},
    },
    {"r": 4, "target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
    {"r": 4, "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    {"r": 4, "target_modules": ["q_proj"], "modules_to_save": ["lm_head", "o_proj"]},
    {"r": 4, "target_modules": ["q_proj", "embed_tokens"]},
    {"r": 4, "target_modules": ["q_proj"], "trainable_token_indices": [3, 5, 7]},
]


@pytest.mark.parametrize("kind", ["llama", pytest.param("qwen2", marks=pytest.mark.long)])
@pytest.mark.parametrize("is_tied", [True, False])
def test_a_lora_of_a_file_is_counted_by_the_file(tmp_path: Path, kind: str, is_tied: bool) -> None:
    base = make(kind, tmp_path / "model", tie_word_embeddings=is_tied)
    wrong = []
    for number, fields in enumerate(FILES):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(fields))
        found = count(base, {"peft_config_path": str(file)})
        assert found is not None
        if found[0] != found[1]:
            wrong.append(f"{fields}: {found[0]} instead of {found[1]}")
    assert wrong == []


def test_an_adapter_that_is_trained_on_is_counted_by_its_own_settings(tmp_path: Path) -> None:
    base = make("llama", tmp_path / "model")
    first = {"r": 3, "target_modules": "k_proj,down_proj", "use_dora": True}
    spec = TrainSpec.read({"model_name_or_path": str(base), "train_file": "/t", "precision": "fp32"} | first)
    build.load(base, spec, choose(spec)).save_pretrained(tmp_path / "adapter")
    found = count(base, {"attach_lora": True, "attach_lora_path": str(tmp_path / "adapter")})
    assert found is not None
    assert found[0] == found[1]
