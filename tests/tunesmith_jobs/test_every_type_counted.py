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


def differing(base: Path) -> list[str]:
    """The starts at which the estimate counts something else than is trained."""
    facts = check_model_folder(base)
    config = json.loads((base / "config.json").read_text())
    numbers = {name: value for name, value in config.items() if type(value) is int}
    wrong = []
    for start in STARTS:
        given = {"model_name_or_path": str(base), "train_file": "/t", "precision": "fp32"} | start
        spec = TrainSpec.read(given)
        if any(problem.field in start for problem in inabilities(facts, spec)):
            continue  # it is refused at submit
        shape = model_shape(facts, numbers, spec)
        counted = trainable_parameters(shape, setting_of(spec, Compute(), "cpu", 64))
        trained, _ = build.trainable_parameters(build.load(base, spec, choose(spec)))
        if counted != trained:
            wrong.append(f"{start}: {counted} instead of {trained}")
    return wrong


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
