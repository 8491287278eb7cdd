"""What single architectures have of their own: layers beside experts, heads behind another layer, words for sizes."""

import json
from pathlib import Path
from typing import Any

import pytest
import training_run as tr
from architectures import causal_types, make
from test_documents_apart import alone, encoded

from tunesmith.lifecycle import State
from tunesmith.model_folder import (
    EXPERTS_WITH_LORA,
    check_model_folder,
    inabilities,
    readable_config,
    unquantised_experts,
    untuned_experts,
)
from tunesmith.model_folder.encoders import ENCODERS
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.models import build
from tunesmith_jobs.models.precision import choose
from tunesmith_platform.backends.compute import Compute
from tunesmith_platform.estimates.formula import trainable_parameters
from tunesmith_platform.estimates.shapes import model_shape, setting_of

long = pytest.mark.long


def spec_of(base: Path, **given: Any) -> TrainSpec:
    return TrainSpec.read({"model_name_or_path": str(base), "train_file": "/t", "precision": "fp32"} | given)


def numbers_of(base: Path) -> dict[str, int]:
    config = json.loads((base / "config.json").read_text())
    return {name: value for name, value in config.items() if type(value) is int}


def counted(base: Path, spec: TrainSpec) -> int:
    """What the estimate counts from the files."""
    shape = model_shape(check_model_folder(base), numbers_of(base), spec)
    return trainable_parameters(shape, setting_of(spec, Compute(), "cpu", 64))


@pytest.mark.parametrize("targets", ["all-linear", "q_proj,gate_proj,up_proj,down_proj"])
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("dots1"),
        *(pytest.param(kind, marks=long) for kind in ("afmoe", "glm4_moe", "ernie4_5_moe")),
    ],
)
def test_layers_beside_experts_have_their_lora(tmp_path: Path, kind: str, targets: str) -> None:
    """A dense layer and a shared expert are called as the experts are, which peft takes out of the targets."""
    base = make(kind, tmp_path / "model")
    spec = spec_of(base, target_modules=targets)
    tuned = build.load(base, spec, choose(spec))
    of = {name.split(".lora_")[0] for name, weight in tuned.named_parameters() if weight.requires_grad}
    assert any(".layers.0.mlp.gate_proj" in name for name in of), "a dense layer"
    assert any("shared_expert" in name and name.endswith("down_proj") for name in of)
    assert any(name.endswith("mlp.experts") for name in of)
    assert counted(base, spec) == build.facts(tuned, spec)["trainable_parameters"]


@pytest.mark.parametrize(
    "kind", ["rembert", pytest.param("electra", marks=long), pytest.param("modernbert-decoder", marks=long)]
)
def test_a_head_that_reads_something_else_than_the_decoders_states_trains(tmp_path: Path, kind: str) -> None:
    base = make(kind, tmp_path / "model")
    rows = tr.write_rows(tmp_path / "rows.jsonl", 4)
    outcome = tr.run(
        tmp_path, base, rows=rows, eval_rows=str(rows), eval_file=str(rows), max_steps=1, eval_strategy="steps",
        eval_steps=2, use_lora=False, save_strategy="no", learning_rate=1e-4,
    )  # fmt: skip
    assert outcome.outcome is State.COMPLETED, outcome
    assert "of all positions" in tr.facts(tmp_path)["loss"]
    assert tr.losses(tmp_path, name="eval_loss")[0] == pytest.approx(
        alone(base, encoded(base, rows)), abs=1e-5
    )


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("phimoe", "gate"),
        pytest.param("llama4_text", "router", marks=long),
        pytest.param("deepseek_v4", "o_a_proj", marks=long),
        pytest.param("longcat_flash", "classifier", marks=long),
    ],
)
def test_a_layer_that_computes_more_than_a_linear_one_has_no_lora(
    tmp_path: Path, kind: str, name: str
) -> None:
    base = make(kind, tmp_path / "model")
    spec = spec_of(base, target_modules="all-linear")
    tuned = build.load(base, spec, choose(spec))
    import torch

    assert tuned(input_ids=torch.arange(5, 15)[None]).logits.isfinite().all()
    asked = spec_of(base, target_modules=f"q_proj,{name}")
    assert [problem.field for problem in inabilities(check_model_folder(base), asked)] == ["target_modules"]


@pytest.mark.parametrize(
    "kind", ["kimi_linear", *(pytest.param(kind, marks=long) for kind in ("bailing_hybrid",))]
)
def test_what_a_configuration_says_in_its_own_words_is_read(tmp_path: Path, kind: str) -> None:
    """`num_experts_per_token` and its like stand in the file; the attribute is called otherwise."""
    base = make(kind, tmp_path / "model")
    written = json.loads((base / "config.json").read_text())
    assert written["num_experts_per_token"] == 2
    spec = spec_of(base)
    assert build.load_frozen(base, spec, choose(spec)).config.num_experts_per_tok == 2


@pytest.mark.parametrize(
    "kind",
    [
        "qwen2_moe",
        "granitemoe",
        *(
            pytest.param(kind, marks=long)
            for kind in ("aria_text", "jamba", "jetmoe", "kimi_linear", "phimoe", "nemotron_h")
        ),
    ],
)
def test_experts_without_a_lora_are_not_counted_and_are_said(tmp_path: Path, kind: str) -> None:
    base = make(kind, tmp_path / "model")
    spec = spec_of(base, target_modules="all-linear")
    facts = check_model_folder(base)
    assert (
        counted(base, spec) == build.facts(build.load(base, spec, choose(spec)), spec)["trainable_parameters"]
    )
    said = untuned_experts(facts, spec)
    assert said is not None
    assert f"`{kind}` get no LoRA" in said
    for other in ({"target_modules": "q_proj"}, {"use_lora": False}):
        assert untuned_experts(facts, spec_of(base, **other)) is None
    with_dropout = inabilities(facts, spec_of(base, target_modules="all-linear", lora_dropout=0.1))
    assert "lora_dropout" not in [one.field for one in with_dropout]


def test_the_types_whose_experts_have_a_lora_are_those_that_peft_knows() -> None:
    from peft.utils import transformers_weight_conversion as of_peft

    known = {
        name
        for name, base in of_peft._MODEL_TO_CONVERSION_PATTERN.items()
        if base in of_peft._MOE_TARGET_MODULE_MAPPING and name.islower()
    }
    assert known == EXPERTS_WITH_LORA


_LEFT_OUT = {
    "_name_or_path", "decoder", "text_encoder", "audio_encoder", "audio_encoder_config", "vocabulary_map",
    "init_device", "backbone_hidden_size",
}  # fmt: skip
"""What is chosen by us, or needed by nothing that writes text."""


@pytest.mark.long
def test_no_key_that_the_library_writes_is_lost() -> None:
    from transformers import AutoConfig

    lost = set()
    for kind in causal_types():
        try:
            written = json.loads(json.dumps(AutoConfig.for_model(kind).to_dict(), default=str))
        except Exception:  # one that cannot be made without being told more
            continue
        lost |= set(written) - set(readable_config(written))
    assert lost == _LEFT_OUT


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(
    "kind",
    [
        "gpt2",
        "mamba",
        "mixtral",
        "deepseek_v3",
        *(
            pytest.param(kind, marks=long)
            for kind in ("llama", "qwen3_moe", "gpt_oss", "jamba", "mamba2", "falcon_mamba", "phimoe", "minicpm3",
                         "kimi_linear", "glm4_moe_lite", "longcat_flash", "granitemoe", "nemotron_h", "jetmoe")
        ),
    ],
)  # fmt: skip
def test_what_is_held_in_fewer_bits_is_what_the_estimate_counts(tmp_path: Path, kind: str, bits: int) -> None:
    """Experts lie in one tensor a layer, a state reads weights past their layers: bitsandbytes leaves them whole."""
    base = make(kind, tmp_path / "model")
    spec = spec_of(base, target_modules="all-linear", **{f"load_in_{bits}bit": True})
    tuned = build.load(base, spec, choose(spec))
    import bitsandbytes

    kinds = (bitsandbytes.nn.Linear4bit, bitsandbytes.nn.Linear8bitLt)
    layers = [module for module in tuned.modules() if isinstance(module, kinds)]
    held = sum(module.in_features * module.out_features for module in layers)
    assert held
    facts = check_model_folder(base)
    shape = model_shape(facts, numbers_of(base), spec)
    assert shape.quantised_parameters == held
    said = unquantised_experts(facts, spec)
    assert (said is not None) == (
        facts.has_stacked_experts or any(one.experts for one in facts.linear_layers)
    )
    assert unquantised_experts(facts, spec_of(base)) is None
    import torch

    tokens = torch.arange(5, 29).reshape(2, 12)
    tuned(input_ids=tokens, labels=tokens).loss.backward()


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("bert", {"is_decoder": False}),
        ("bert", {}),
        ("xlm", {}),
        ("llama", {}),
        *(
            pytest.param(kind, {"is_decoder": is_decoder}, marks=long)
            for kind in sorted(ENCODERS - {"xmod", "reformer", "roc_bert"})
            for is_decoder in (False, True)
        ),
        pytest.param("xlm", {"causal": True}, marks=long),
    ],
)
def test_a_model_that_sees_what_it_is_to_write_is_refused(
    tmp_path: Path, kind: str, more: dict[str, Any]
) -> None:
    """An encoder's loss falls to nothing, as each place sees the token it is asked for."""
    import torch
    from transformers import AutoModelForCausalLM

    base = make(kind, tmp_path / "model", **more)
    facts = check_model_folder(base)
    fields = [problem.field for problem in inabilities(facts, spec_of(base))]
    assert ("model_name_or_path" in fields) == facts.sees_later_tokens
    sorted_out = inabilities(facts, spec_of(base, training_type="classification"))
    assert "model_name_or_path" not in [problem.field for problem in sorted_out]
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    one = torch.arange(5, 25)[None]
    other = one.clone()
    other[0, -1] = 40
    with torch.no_grad():
        before, after = (model(input_ids=ids).logits[:, :-1] for ids in (one, other))
    # XLM can be made to look back alone; its loss is not the next token's all the same.
    assert (not torch.equal(before, after)) == (facts.sees_later_tokens and "causal" not in more)


def test_a_model_that_reads_padding_is_trained_a_row_at_a_time(tmp_path: Path) -> None:
    """CPM-Ant looks for padding at the left, by the token 0: the rows of a batch of two had other losses."""
    import torch
    from transformers import AutoModelForCausalLM

    base = make("cpmant", tmp_path / "model")
    network = AutoModelForCausalLM.from_pretrained(base).eval()
    row, padded = torch.arange(5, 25)[None], torch.arange(5, 25)[None]
    mask = torch.cat([torch.ones_like(row), torch.zeros_like(row)], 1)
    with torch.no_grad():
        alone = network(input_ids=row).logits[0]
        filled = network(input_ids=torch.cat([padded, torch.zeros_like(row)], 1), attention_mask=mask).logits
    assert (filled[0, : row.shape[1]] - alone).abs().max() > 1, "else nothing need be refused"
    facts = check_model_folder(base)
    one: dict[str, Any] = {"per_device_train_batch_size": 1, "gradient_checkpointing": False}
    assert [problem.field for problem in inabilities(facts, spec_of(base, **one))] == []
    for field, value in (("per_device_train_batch_size", 2), ("packing", True)):
        asked = spec_of(base, **(one | {field: value}))
        assert [problem.field for problem in inabilities(facts, asked)] == [field]
