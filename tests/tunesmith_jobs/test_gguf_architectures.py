"""Each architecture's GGUF file is the model, and a file with a structural fault is seen not to be.

Real llama.cpp beside transformers, in fp32 and with the weights cast as the file has them: past windows, past the
context of the first training, with experts. A new architecture is a row of `architecture_rows.ROWS`.
"""

import dataclasses
import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf_faults
import llama_cpp
import numpy as np
import pytest
import small_models
import torch
from architecture_rows import FAULTS, LONGROPE, ROWS, WINDOW, Row
from safetensors.torch import save_file
from test_gguf import FAULT, LLAMA3, difference, entropy, logits, make_adapter, tensors_of
from transformers import AutoConfig, AutoModelForCausalLM

from tunesmith.errors import NotConvertible
from tunesmith.gguf import FileType, Importance, plan_gguf, plan_lora_gguf, write_gguf, write_lora_gguf
from tunesmith.gguf.architectures import ARCHITECTURES, architecture_of
from tunesmith.language import Language, tr
from tunesmith.model_folder import read_config
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.models.gguf_proof.prover import Prover, Subject
from tunesmith_jobs.models.gguf_proof.weights_check import FileTensors, look

LENGTH = 160
NEAR = 1e-4
BF16, BF16_OF_EXPERTS = 1e-3, 3e-3
"""Measured are 1.1e-4 (OLMo 2) to 2.6e-4 (Gemma 3), and with experts up to 6.4e-4: where two are nearly as likely,
rounding asks the other one."""


@dataclasses.dataclass
class Made:
    """A model, what the library computes of it, and its file."""

    folder: Path
    ids: list[int]
    file: Path
    reference: Any


def sure_model(row: Row, folder: Path) -> list[int]:
    """A small random model whose norms and biases are no ones and zeros, and that is sure of what it says."""
    small_models.KINDS.setdefault(row.kind, row.config)
    small_models.model_of(row.kind, folder, **row.config)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    plus = ARCHITECTURES[row.kind].norms_plus
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
            if "mlp.gate.weight" in name:
                parameter.mul_(4)
        ids = torch.randint(4, 600, (LENGTH,)).tolist()
        for _ in range(20):
            if entropy(model(torch.tensor([ids])).logits[0].double()) < np.log(615) / 2.5:
                break
            model.model.norm.weight.copy_((model.model.norm.weight + plus) * 1.5 - plus)
    model.save_pretrained(folder)
    return ids


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    known: dict[str, Made] = {}

    def made(name: str) -> Made:
        if name not in known:
            folder = tmp_path_factory.mktemp("gguf") / "model"
            ids = sure_model(ROWS[name], folder)
            file = folder.parent / "model.gguf"
            write_gguf(folder, file, FileType.F32)
            known[name] = Made(folder, ids, file, logits(folder, ids))
        return known[name]

    return made


@pytest.mark.parametrize("name", ROWS)
def test_llama_cpp_computes_what_transformers_does(
    name: str, models: Callable[[str], Made], tmp_path: Path
) -> None:
    made = models(name)
    assert entropy(made.reference) < np.log(615) / 2, "such a model would agree with a wrong file"
    assert difference(made.reference, llama_cpp.ask(made.file, ids=made.ids)["logits"]) < NEAR
    half = write_gguf(made.folder, tmp_path / "half.gguf", FileType.F16).path
    reference = logits(made.folder, made.ids, torch.float16)
    assert difference(reference, llama_cpp.ask(half, ids=made.ids)["logits"]) < NEAR


@pytest.mark.parametrize("name", ROWS)
def test_in_bf16_it_is_as_near_as_its_rounding_is(
    name: str, models: Callable[[str], Made], tmp_path: Path
) -> None:
    """llama.cpp rounds what it multiplies with too: what is computed is a little off, and never a fault's worth."""
    made = models(name)
    file = write_gguf(made.folder, tmp_path / "bf16.gguf", FileType.BF16).path
    reference = logits(made.folder, made.ids, torch.bfloat16)
    found = difference(reference, llama_cpp.ask(file, ids=made.ids)["logits"])
    assert found < (BF16_OF_EXPERTS if "experts" in name or name == "mixtral" else BF16)


def test_mixtral_is_proven_whole(models: Callable[[str], Made], tmp_path: Path) -> None:
    """By all that a package's proof looks at; with experts in another order it is not."""
    made = models("mixtral")
    spec = TrainSpec.read({"model_name_or_path": str(made.folder), "train_file": "-"})
    prover = Prover(Subject(made.folder, None, made.folder, None, spec, is_chat=True), tmp_path)
    for kind in (FileType.F16, FileType.Q8_0, FileType.Q4_K_M):
        file = write_gguf(made.folder, tmp_path / f"{kind}.gguf", kind).path
        proof = prover.prove(file, kind)
        assert (proof.verdict, [check.words for check in proof.failed()]) == ("proven", [])
        assert {"conversations", "context", "weights", "turning", "kl", "top1"} <= {
            one.name for one in proof.checks
        }
    broken = gguf_faults.rewritten(
        file, tmp_path / "broken.gguf", ROWS["mixtral"].faults["experts in another order"]
    )
    failed = {check.name for check in prover.prove(broken, FileType.Q4_K_M).failed()}
    assert "weights" in failed


def test_types_that_need_a_matrix_are_refused_where_there_are_experts(models: Callable[[str], Made]) -> None:
    """Before a token is computed: what is given to experts lies in no layer that is listened to."""
    with pytest.raises(NotConvertible) as error:
        plan_gguf(models("mixtral").folder, FileType.IQ2_M, matrix=Importance.to_come())
    assert "has experts, of which no importance matrix is computed" in str(error.value)
    assert "`IQ3_S`" in str(error.value.hint)


@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_a_fault_makes_a_hundred_times_the_difference(
    name: str, fault: str, models: Callable[[str], Made], tmp_path: Path
) -> None:
    made = models(name)
    broken = gguf_faults.rewritten(made.file, tmp_path / "broken.gguf", ROWS[name].faults[fault])
    try:
        found = llama_cpp.ask(broken, ids=made.ids)["logits"]
    except RuntimeError:
        return  # it does not load it: as good
    assert not difference(made.reference, found) <= NEAR * FAULT


@pytest.mark.parametrize("name", ROWS)
def test_the_library_s_own_weights_are_the_file_s(name: str, models: Callable[[str], Made]) -> None:
    """As a proof compares them: by the names that the library's model has, which holds experts as one tensor."""
    made = models(name)
    architecture = architecture_of(read_config(made.folder))
    tensors = architecture.tensors()
    names = architecture.names_in_file(tensors)
    model = AutoModelForCausalLM.from_pretrained(made.folder, dtype=torch.float32)
    weights = {name: weight.numpy() for name, weight in model.state_dict().items()}
    wanted = {names[name]: functools.partial(tensor.numbers, weights) for name, tensor in tensors.items()}
    found = look(FileTensors(made.file), wanted)
    assert not found.faults
    assert found.same == 1


@pytest.mark.parametrize(
    "name", [name for name, row in ROWS.items() if "experts" in name or name == "mixtral"]
)
def test_experts_that_lie_in_one_tensor_are_read(
    name: str, models: Callable[[str], Made], tmp_path: Path
) -> None:
    """As the library's model has them, and as published: the same file."""
    made = models(name)
    folder = shutil.copytree(made.folder, tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(made.folder, dtype=torch.float32)
    weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    assert any(name.endswith("experts.gate_up_proj") for name in weights)
    save_file(weights, folder / "model.safetensors")
    written = write_gguf(folder, tmp_path / "model.gguf", FileType.F32)
    one, other = tensors_of(written.path), tensors_of(made.file)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.lora])
def test_an_adapter_is_written_and_merged(name: str, models: Callable[[str], Made], tmp_path: Path) -> None:
    """Beside the base's file, and added to it as it is written; on matrices that are several in one too."""
    made = models(name)
    config = {"r": 4, "lora_alpha": 8, "use_rslora": True, "target_modules": ROWS[name].lora}
    adapter = make_adapter(made.folder, tmp_path / "adapter", **config)
    reference = logits(made.folder, made.ids, adapter=adapter)
    assert difference(made.reference, reference.numpy()) > NEAR * FAULT, "the adapter does nothing"
    beside = write_lora_gguf(adapter, made.folder, tmp_path / "lora.gguf").path
    assert difference(reference, llama_cpp.ask(made.file, ids=made.ids, lora=beside)["logits"]) < NEAR
    merged = write_gguf(made.folder, tmp_path / "merged.gguf", FileType.F32, adapter=adapter).path
    assert difference(reference, llama_cpp.ask(merged, ids=made.ids)["logits"]) < NEAR


def test_an_adapter_of_experts_is_refused_with_the_way_out(
    models: Callable[[str], Made], tmp_path: Path
) -> None:
    made = models("mixtral")
    config = {"r": 2, "target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj"]}
    adapter = make_adapter(made.folder, tmp_path / "adapter", **config)
    for refused in (
        lambda: plan_lora_gguf(adapter, made.folder),
        lambda: plan_gguf(made.folder, adapter=adapter),
    ):
        with pytest.raises(NotConvertible) as error:
            refused()
        assert error.value.problems[0].field == "target_parameters"
        assert "Merge" in (error.value.hint or "")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_a_configuration_leaves_out_is_what_the_library_takes(name: str) -> None:
    config = AutoConfig.for_model(name)
    rope = getattr(config, "rope_parameters", None) or {}
    for field, value in ARCHITECTURES[name].defaults.items():
        taken = rope.get(field, getattr(type(config), field, getattr(config, field, None)))
        assert taken == value, field
    said = ARCHITECTURES[name].defaults.get("tie_word_embeddings", False)
    assert config.tie_word_embeddings == said


@pytest.mark.parametrize(
    ("name", "field", "config"),
    [
        ("smollm3", "no_rope_layers", {"no_rope_layers": [1, 1, 0, 1]}),
        ("smollm3", "no_rope_layers", {"no_rope_layers": None, "no_rope_layer_interval": 2}),
        ("smollm3", "attention_bias", {"attention_bias": True}),
        ("smollm3", "rope_parameters.rope_type", {"rope_parameters": LLAMA3}),
        ("gemma3", "query_pre_attn_scalar", {"query_pre_attn_scalar": 64}),
        ("gemma3", "final_logit_softcapping", {"final_logit_softcapping": 30.0}),
        ("gemma3", "use_bidirectional_attention", {"use_bidirectional_attention": True}),
        ("gemma3", "layer_types", {"layer_types": ["chunked_attention"] * 7}),
        ("gemma3", "hidden_activation", {"hidden_activation": "gelu"}),
        ("gemma2", "attn_logit_softcapping", {"attn_logit_softcapping": None}),
        ("gemma2", "tie_word_embeddings", {"tie_word_embeddings": False}),
        ("phi3", "head_dim", {"head_dim": 8}),
        ("phi3", "rope_parameters.rope_type", {"rope_parameters": {"rope_type": "linear", "factor": 2.0}}),
        (
            "phi3, long",
            "rope_parameters.long_factor",
            {"rope_parameters": LONGROPE | {"long_factor": [1.0] * 4}},
        ),
        (
            "phi3, long",
            "rope_parameters.short_factor",
            {"rope_parameters": LONGROPE | {"short_factor": [-1.0] * 8}},
        ),
        ("qwen2 with experts", "mlp_only_layers", {"mlp_only_layers": [0]}),
        ("qwen2 with experts", "norm_topk_prob", {"norm_topk_prob": True}),
        ("qwen3 with experts", "norm_topk_prob", {"norm_topk_prob": False}),
        ("qwen3 with experts", "decoder_sparse_step", {"decoder_sparse_step": 2}),
        ("olmo2", "attention_bias", {"attention_bias": True}),
    ],
)
def test_what_llama_cpp_computes_otherwise_is_refused_with_its_field(
    name: str, field: str, config: dict[str, Any], models: Callable[[str], Made]
) -> None:
    said = read_config(models(name).folder)
    architecture_of(said)
    with pytest.raises(NotConvertible) as error:
        architecture_of(said | config)
    assert error.value.problems[0].field == field
    words = tr(error.value.message, Language.ZH)
    assert words != error.value.message
    assert not any(word in words for word in (" is ", " has ", " which ")), words


@pytest.mark.parametrize("name", ["phi3", "mixtral", "mistral", "smollm3"])
def test_a_window_that_llama_cpp_does_not_keep_to_ends_what_the_file_is_for(
    name: str, models: Callable[[str], Made]
) -> None:
    said = read_config(models("mixtral" if name == "mistral" else name).folder)
    more = {"model_type": "mistral"} if name == "mistral" else {}
    more |= {"sliding_window": WINDOW, "use_sliding_window": True}
    if name == "smollm3":
        more["layer_types"] = ["full_attention"] * 3 + ["sliding_attention"]
    found = architecture_of(said | more)
    assert found.metadata[f"{found.word}.context_length"] == WINDOW
    assert [notice.field for notice in found.notices] == ["sliding_window"]
