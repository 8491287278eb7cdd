"""What is saved is what was trained: the run's own model, its final adapter, each checkpoint and the merged model
compute the same, each loaded by plain peft or transformers onto a base that was read anew. Or it is refused.
"""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import training_run as tr
from saved_models import (
    ENDS,
    IDS,
    TIED,
    Bases,
    Seen,
    check,
    is_same,
    loaded,
    logits,
    model_for,
    moved,
    moved_to_another_device,
    trained,
)
from small_models import model_of

from tunesmith.errors import InvalidInput
from tunesmith.lifecycle import Reason, State

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    """Small random models of a kind with tied or untied ends, each made once."""
    made: dict[str, Path] = {}

    def base(kind: str = "llama", **more: Any) -> Path:
        key = kind + json.dumps(more, sort_keys=True)
        if key not in made:
            made[key] = model_of(kind, tmp_path_factory.mktemp(kind) / "base", **more)
        return made[key]

    return base


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """What the run's own model computed at each save, by the checkpoint's name."""
    from tunesmith_jobs.train.run.trainer import TuneTrainer

    found: Seen = {}
    save = TuneTrainer._save

    def looked_at(self: Any, output_dir: str | None = None, state_dict: Any = None) -> Any:
        found[Path(str(output_dir)).name] = logits(self.accelerator.unwrap_model(self.model))
        return save(self, output_dir, state_dict)

    monkeypatch.setattr(TuneTrainer, "_save", looked_at)
    yield found
    found.clear()


TABLE: dict[str, tuple[str, dict[str, Any], dict[str, Any] | None, dict[str, Any]]] = {
    # name: kind, more of its configuration, the LoRA's file, parameters
    "default": ("llama", {}, None, {}),
    "gaussian, rslora": ("llama", {}, {"init_lora_weights": "gaussian", "use_rslora": True}, {}),
    "no start": ("llama", {}, {"init_lora_weights": False}, {}),
    "pissa": ("llama", {}, {"init_lora_weights": "pissa", "use_dora": True}, {}),
    "pissa, drawn": ("llama", {}, {"init_lora_weights": "pissa_niter_4"}, {}),
    "pissa, patterns": ("llama", {}, {"init_lora_weights": "pissa", "use_rslora": True, "rank_pattern": {"q_proj": 2},
                                      "alpha_pattern": {"v_proj": 12}}, {}),
    "olora": ("qwen2", {}, {"init_lora_weights": "olora", "bias": "all"}, {}),
    "olora, the other way": ("gpt2", {}, {"init_lora_weights": "olora", "target_modules": ["c_attn", "c_fc"]}, {}),
    "orthogonal": ("llama", {}, {"init_lora_weights": "orthogonal"}, {}),
    "mica": ("llama", {}, {"init_lora_weights": "mica", "layers_to_transform": [1]}, {}),
    "tied, embedding": ("llama", TIED, {"target_modules": ["embed_tokens", "q_proj"], "init_lora_weights": "pissa"},
                        {}),
    "tied, head, pissa": ("llama", TIED, {"target_modules": ["lm_head", "q_proj"], "init_lora_weights": "pissa"}, {}),
    "tied, head": ("llama", TIED, {"target_modules": ["lm_head", "q_proj"]}, {}),
    "tied, both": ("llama", TIED, {"target_modules": ENDS}, {}),
    "tied, head kept tied": ("llama", TIED, {"target_modules": ["lm_head", "q_proj"], "ensure_weight_tying": True}, {}),
    "tied, both kept tied": ("llama", TIED, {"target_modules": ENDS, "ensure_weight_tying": True}, {}),
    "tied, head kept tied, orthogonal": ("qwen2", TIED, {"target_modules": ["lm_head", "v_proj"],
                                                       "init_lora_weights": "orthogonal", "ensure_weight_tying": True},
                                         {}),
    "tied, saved kept tied": ("llama", TIED, {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}, {}),
    "tied, saved both": ("llama", TIED, {"modules_to_save": ENDS}, {}),
    "tied, rows": ("llama", TIED, {"trainable_token_indices": [5, 6, 7]}, {}),
    "tied, rows of both": ("llama", TIED, {"trainable_token_indices": {end: [5, 6] for end in ENDS}}, {}),
    "tied, rows and head": ("llama", TIED, {"trainable_token_indices": [5], "target_modules": ["lm_head"]},
                            {"merge_lora_after_training": False}),
    "untied, both": ("llama", {"tie_word_embeddings": False}, {"target_modules": ENDS, "use_dora": True}, {}),
    "untied, rows and head": ("llama", {"tie_word_embeddings": False},
                              {"trainable_token_indices": [5, 6], "modules_to_save": ["lm_head"]}, {}),
    "4 bit": ("llama", {}, {"trainable_token_indices": [5, 6]}, {"load_in_4bit": True}),
    "8 bit": ("llama", {}, None, {"load_in_8bit": True, "target_modules": ["embed_tokens", "q_proj"]}),
    "4 bit, dora": ("llama", {}, None, {"load_in_4bit": True, "use_dora": True}),
    "experts": ("qwen3_moe", {}, {"target_modules": "all-linear", "use_rslora": True}, {}),
    "layers beside experts": ("dots1", {}, {"target_modules": ["gate_proj", "up_proj", "down_proj"]}, {}),
    "experts' tensors": ("gpt_oss", {}, {"target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj",
                                                               "mlp.router.weight"]}, {}),
    "all weights": ("llama", {}, None, {"use_lora": False, "learning_rate": 1e-3}),
    "schedule-free": ("llama", {}, None, {"optim": "schedule_free_adamw"}),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_everything_saved_computes_as_the_run_did(
    tmp_path: Path, bases: Bases, seen: Seen, name: str
) -> None:
    kind, config, lora, spec = TABLE[name]
    check(tmp_path, bases(kind, **config), seen, lora, **spec)


STARTS: list[Any] = [True, "gaussian", False, "pissa", "pissa_niter_2", "olora", "orthogonal", "mica"]
TARGETS: dict[str, dict[str, Any]] = {
    "attention": {},
    "every": {"target_modules": "all-linear"},
    "embedding": {"target_modules": ["embed_tokens", "v_proj"]},
    "head": {"target_modules": ["lm_head", "v_proj"]},
    "ends": {"target_modules": ENDS},
    "rows": {"trainable_token_indices": [3, 5, 8]},
    "saved head": {"modules_to_save": ["lm_head"]},
    "saved ends": {"modules_to_save": ENDS},
}
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True, "rank_pattern": {"v_proj": 2}},
    "bias": {"bias": "all"},
    "tied": {"ensure_weight_tying": True},
}


@pytest.mark.long
@pytest.mark.parametrize(("start", "target", "shape"), itertools.product(STARTS, TARGETS, SHAPES))
@pytest.mark.parametrize("tied", [True, False])
def test_every_combination_computes_as_the_run_did_or_is_refused(
    tmp_path: Path, bases: Bases, seen: Seen, start: Any, target: str, shape: str, tied: bool
) -> None:
    lora = {"init_lora_weights": start} | TARGETS[target] | SHAPES[shape]
    try:
        check(tmp_path, bases("qwen2", tie_word_embeddings=tied), seen, lora)
    except AssertionError as error:
        # A head with a row of zeros has no direction, which is what DoRA divides by: that run ends by itself.
        is_loud = shape == "dora" and "Reason.NUMERIC" in str(error)
        if "bad_parameters" not in str(error) and not is_loud:
            raise


@pytest.mark.slow
def test_another_process_computes_the_same(tmp_path: Path, bases: Bases, seen: Seen) -> None:
    import torch

    code = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base, ids, *adapters = sys.argv[1:]
for adapter in adapters:
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    with torch.no_grad():
        found = tuned(input_ids=torch.tensor([[int(i) for i in ids.split(",")]])).logits
    torch.save(found, adapter + ".pt")
"""
    wanted: dict[Path, Any] = {}
    for name in ("pissa, drawn", "tied, rows", "orthogonal"):
        folder = tmp_path / name
        folder.mkdir()
        assert trained(folder, bases(), TABLE[name][2]).outcome is State.COMPLETED
        wanted[folder / "artifacts" / "model"] = seen["checkpoint-3"]
    ids = ",".join(map(str, IDS))
    subprocess.run([sys.executable, "-c", code, str(bases()), ids, *map(str, wanted)], check=True)
    for adapter, found in wanted.items():
        assert is_same(torch.load(f"{adapter}.pt", weights_only=True), found)


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_2", "olora"])
def test_a_run_over_a_changed_base_goes_on_bit_for_bit(tmp_path: Path, bases: Bases, start: str) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    lora = {"init_lora_weights": start}
    assert trained(whole, bases(), lora).outcome is State.COMPLETED
    assert trained(cut, bases(), lora, stop_at=2).reason is Reason.STOPPED_BY_USER
    assert trained(cut, bases(), lora, attempt=2).outcome is State.COMPLETED
    assert tr.kinds(cut, "training_started", 2)[0]["step"] == 2
    assert tr.losses(cut, 1, 2) == tr.losses(whole)
    one, other = (folder / "artifacts" / "model" / "adapter_model.safetensors" for folder in (whole, cut))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("start", [True, "gaussian", False, "orthogonal", "mica"])
@pytest.mark.parametrize(
    "targets", [["embed_tokens", "v_proj"], ["lm_head", "v_proj"], ENDS, r".*\.v_proj|lm_head"], ids=str
)
def test_two_ends_that_are_kept_tied_have_one_lora(
    tmp_path: Path, bases: Bases, targets: Any, start: Any, precision: str
) -> None:
    """Whatever it begins as, over a base of any precision, wherever it is moved to, saved and put back."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    from tunesmith_jobs.models import saved_adapter
    from tunesmith_jobs.train.checkpoint.restore import load_weights

    base = tmp_path / "base"  # holds numbers that bf16 holds too
    AutoModelForCausalLM.from_pretrained(bases("qwen2", **TIED)).bfloat16().save_pretrained(base)
    lora = {"r": 4, "init_lora_weights": start, "target_modules": targets, "ensure_weight_tying": True}
    (tmp_path / "lora.json").write_text(json.dumps(lora))
    given = {"peft_config_path": str(tmp_path / "lora.json"), "precision": precision}
    model = moved_to_another_device(model_for(base, **given))
    wanted = moved(model)
    saved_adapter.save_adapter(model, tmp_path, base="base")
    saved = load_file(tmp_path / "adapter_model.safetensors")
    head, embedding = (
        "base_model.model." + end for end in ("lm_head.lora_", "model.embed_tokens.lora_embedding_")
    )
    for of_head, of_embedding in (("A", "B"), ("B", "A")):
        assert torch.equal(saved[f"{head}{of_head}.weight"], saved[f"{embedding}{of_embedding}"].T)
    assert is_same(loaded(tmp_path, base, 5), wanted)
    other = moved_to_another_device(model_for(base, **given))
    load_weights(other, tmp_path)
    assert is_same(logits(other), wanted)
    assert is_same(logits(model_for(base, attach_lora_path=str(tmp_path))), wanted)


def test_two_ends_that_learnt_apart_are_not_attached_as_one(tmp_path: Path, bases: Bases) -> None:
    """peft's own over a base in 16 bits."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(bases(**TIED)).bfloat16()
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules=ENDS, ensure_weight_tying=True))
    moved(tuned)
    tuned.save_pretrained(tmp_path / "theirs")
    with pytest.raises(InvalidInput, match="one LoRA for both ends"):
        model_for(bases(**TIED), attach_lora_path=str(tmp_path / "theirs"))


@pytest.mark.parametrize("start", ["pissa_niter_0", "olora"])
def test_a_state_over_a_base_that_began_otherwise_brings_its_own(
    tmp_path: Path, bases: Bases, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    """Another machine's singular vectors have other signs and last digits; a drawn start is another one each time."""
    from tunesmith_jobs.models import saved_adapter
    from tunesmith_jobs.train.checkpoint.restore import load_weights

    (tmp_path / "lora.json").write_text(
        json.dumps({"r": 4, "init_lora_weights": start, "target_modules": ["q_proj"]})
    )
    given = {"peft_config_path": str(tmp_path / "lora.json")}
    first = model_for(bases(), **given)
    wanted = moved(first)
    saved_adapter.save_adapter(first, tmp_path, base="base")
    monkeypatch.setattr(
        saved_adapter, "_principal", lambda of, _, rank, scaling: (of[:rank] * 0.1, of[:, :rank] * 0.1)
    )
    other = model_for(bases(), **given)
    load_weights(other, tmp_path)
    assert is_same(logits(other), wanted)
    saved_adapter.save_adapter(other, tmp_path, base="base")
    assert is_same(loaded(tmp_path, bases(), 5), wanted)


def test_an_adapter_of_pefts_own_saving_is_attached_as_peft_loads_it(
    tmp_path: Path, bases: Bases, seen: Seen
) -> None:
    """One that began with a part of the base, and with an embedding that was changed before it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(bases())
    tuned = get_peft_model(
        model, LoraConfig(r=4, init_lora_weights="pissa", target_modules=["q_proj", "embed_tokens"])
    )
    with torch.no_grad():
        model.get_input_embeddings().base_layer.weight[9] += 1
    wanted = moved(tuned)
    tuned.save_pretrained(tmp_path / "theirs")
    given = {"attach_lora_path": str(tmp_path / "theirs")}
    assert is_same(logits(model_for(bases(), **given)), wanted)
    check(tmp_path, bases(), seen, **given)


def test_an_adapter_over_a_base_that_nobody_knows_is_not_attached(tmp_path: Path, bases: Bases) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=4, init_lora_weights="pissa_niter_2", target_modules=["q_proj"])
    get_peft_model(AutoModelForCausalLM.from_pretrained(bases()), config).save_pretrained(tmp_path / "theirs")
    outcome = trained(tmp_path, bases(), attach_lora_path=str(tmp_path / "theirs"))
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.BAD_PARAMETERS), outcome
    assert "at random" in outcome.message


@pytest.mark.parametrize(
    ("kind", "lora", "spec", "word"),
    [
        ("llama", {"lora_bias": True}, {"merge_lora_after_training": True}, "lora_bias"),
        ("llama", {"layer_replication": [[0, 1], [0, 2]]}, {"merge_lora_after_training": True}, "layer_replication"),
        ("llama", {"alora_invocation_tokens": [5]}, {"merge_lora_after_training": True}, "alora_invocation_tokens"),
        ("llama", {"trainable_token_indices": [100000]}, {}, "trainable_token_indices"),
        ("llama", {"trainable_token_indices": [5], "target_modules": ["embed_tokens"]}, {}, "cannot be applied"),
        ("phi", {"trainable_token_indices": {"lm_head": [5]}}, {}, "has a bias"),
        ("llama", {"ensure_weight_tying": True, "use_dora": True, "target_modules": ["lm_head"]}, {}, "use_dora"),
        ("llama", {"init_lora_weights": "orthogonal"}, {"load_in_4bit": True}, "load_in_4bit"),
        ("llama", {"init_lora_weights": "olora"}, {"load_in_8bit": True}, "load_in_8bit"),
        ("llama", {"init_lora_weights": "pissa", "r": 65}, {}, "no 65 directions"),
        ("qwen3_moe", {"init_lora_weights": "pissa", "target_modules": "all-linear"}, {}, "no plain matrix"),
        ("llama", {"target_modules": 5}, {}, "cannot be added"),
        ("llama", {"r": "x"}, {}, "cannot be added"),
    ],
)  # fmt: skip
def test_what_cannot_be_saved_is_refused_before_the_first_step(
    tmp_path: Path, bases: Bases, kind: str, lora: dict[str, Any], spec: dict[str, Any], word: str
) -> None:
    outcome = trained(tmp_path, bases(kind), lora, **spec)
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.BAD_PARAMETERS), outcome
    assert word in outcome.message
    assert not tr.kinds(tmp_path, "training_started")


def test_rows_of_a_tied_head_under_its_lora_are_not_to_be_merged(tmp_path: Path, bases: Bases) -> None:
    """Which peft would find out after the training."""
    lora = {"trainable_token_indices": [5], "target_modules": ["lm_head"]}
    outcome = trained(tmp_path, bases(**TIED), lora, merge_lora_after_training=True)
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.BAD_PARAMETERS), outcome
    assert "trainable_token_indices" in outcome.message
    assert not tr.kinds(tmp_path, "training_started")


def test_an_adapter_that_cannot_be_merged_is_not_packaged(tmp_path: Path, bases: Bases) -> None:
    from tunesmith.spec.training import TrainSpec
    from tunesmith_jobs.models.merge import merge

    assert trained(tmp_path, bases(), {"lora_bias": True}).outcome is State.COMPLETED
    spec = TrainSpec.read({"model_name_or_path": str(bases()), "train_file": "/t"})
    with pytest.raises(InvalidInput, match="lora_bias"):
        merge(tmp_path / "artifacts" / "model", bases(), tmp_path / "merged", spec, None)
