"""GGUF files are whole or not there, take little memory, and say nothing that llama.cpp would compute otherwise."""

import json
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_files import safetensors
from tiny_model import make_tokenizer_folder

from tunesmith.errors import InvalidInput, InvalidModel, NotConvertible, NotOurs
from tunesmith.gguf import FileType, plan_gguf, plan_lora_gguf, write_gguf, write_lora_gguf
from tunesmith.gguf.architectures import architecture_of
from tunesmith.gguf.lora import _NOT_WRITTEN
from tunesmith.language import Language, tr

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 16, "intermediate_size": 32,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6, "vocab_size": 700, "tie_word_embeddings": True, "hidden_act": "silu",
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}  # fmt: skip


def make_model(
    folder: Path, *, without: str = "", tensors: dict[str, list[int]] | None = None, **config: Any
) -> Path:
    """A folder by hand, its weights zeros: needs no torch."""
    make_tokenizer_folder(folder)
    values = CONFIG | config
    (folder / "config.json").write_text(json.dumps(values))
    expected = architecture_of(CONFIG | {"intermediate_size": values["intermediate_size"]}).tensors()
    shapes = {name: list(tensor.shape) for name, tensor in expected.items() if name != without}
    (folder / "model.safetensors").write_bytes(safetensors(shapes | (tensors or {})))
    return folder


def set_number(file: Path, tensor: str, value: float) -> None:
    """Write a number into a tensor."""
    raw = bytearray(file.read_bytes())
    length = struct.unpack_from("<Q", raw)[0]
    begin = json.loads(raw[8 : 8 + length])[tensor]["data_offsets"][0]
    struct.pack_into("<f", raw, 8 + length + begin + 8, value)
    file.write_bytes(raw)


def refusal(call: Callable[[], object]) -> InvalidInput:
    """What it is refused with, said in both languages."""
    with pytest.raises(InvalidInput) as error:
        call()
    said = tr(error.value.message, Language.ZH)
    assert said != error.value.message
    assert not any(word in said for word in (" is ", " has ", " which ")), said
    return error.value


ROPE = {"rope_theta": 10000.0, "factor": 2.0}


@pytest.mark.parametrize(
    ("field", "config"),
    [
        ("model_type", {"model_type": "falcon"}),
        ("hidden_act", {"hidden_act": "gelu"}),
        ("partial_rotary_factor", {"partial_rotary_factor": 0.5}),
        ("rope_parameters.rope_type", {"rope_parameters": ROPE | {"rope_type": "dynamic"}}),
        ("rope_parameters.mscale", {"rope_parameters": ROPE | {"rope_type": "yarn", "mscale": 0.7}}),
        ("rope_parameters.attention_factor", {"rope_parameters": ROPE | {"rope_type": "yarn", "attention_factor": 3}}),
        ("rope_parameters.low_freq_factor", {"rope_parameters": ROPE | {"rope_type": "llama3",
                                             "original_max_position_embeddings": 32}}),
        ("rope_scaling.rope_type", {"rope_parameters": None, "rope_scaling": {"type": "ntk"}}),
        ("attention_bias", {"model_type": "qwen3", "head_dim": 4, "attention_bias": True}),
        ("num_hidden_layers", {"num_hidden_layers": 2_000_000_000}),
        ("rms_norm_eps", {"rms_norm_eps": None}),
        ("num_key_value_heads", {"num_key_value_heads": 3}),
    ],
)  # fmt: skip
def test_what_llama_cpp_computes_otherwise_is_refused_with_its_field(
    field: str, config: dict[str, Any], tmp_path: Path
) -> None:
    error = refusal(lambda: plan_gguf(make_model(tmp_path / "model", **config)))
    assert isinstance(error, NotConvertible)
    assert error.problems[0].field == field
    assert field in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("tensor", "made"),
    [
        ("model.norm.weight", {"without": "model.norm.weight"}),
        ("model.layers.0.self_attn.sinks", {"tensors": {"model.layers.0.self_attn.sinks": [4]}}),
        ("model.embed_tokens.weight", {"tensors": {"model.embed_tokens.weight": [704, 16]}}),
        ("lm_head.weight", {"tie_word_embeddings": False}),
    ],
)
def test_weights_that_are_not_the_configurations_are_refused(
    tensor: str, made: dict[str, Any], tmp_path: Path
) -> None:
    error = refusal(lambda: plan_gguf(make_model(tmp_path / "model", **made)))
    assert error.problems[0].field == tensor


def test_a_head_that_is_stored_though_it_is_tied_is_left_out(tmp_path: Path) -> None:
    """As the library loads it: the embedding's own."""
    folder = make_model(tmp_path / "model", tensors={"lm_head.weight": [700, 16]})
    assert "output.weight" not in {tensor.name for tensor in plan_gguf(folder).tensors}


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "quantised", quantization_config={"quant_method": "gptq"})
    with pytest.raises(InvalidModel, match="quantised already"):
        plan_gguf(folder)
    folder = make_model(tmp_path / "integers")
    shapes = {name: list(tensor.shape) for name, tensor in architecture_of(CONFIG).tensors().items()}
    (folder / "model.safetensors").write_bytes(safetensors(shapes, "I8", 1))
    assert "I8" in refusal(lambda: plan_gguf(folder)).message
    (make_model(tmp_path / "words") / "tokenizer.json").unlink()
    with pytest.raises(InvalidModel, match=r"has no `tokenizer\.json`"):
        plan_gguf(tmp_path / "words")
    folder = make_model(tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InvalidModel, match="its header says"):
        write_gguf(folder, tmp_path / "cut.gguf")
    assert not list(tmp_path.glob("*.gguf"))


def rest(folder: Path) -> list[str]:
    """What a writing left."""
    return [file.name for file in folder.iterdir() if file.name != "model"]


@pytest.mark.parametrize(
    ("value", "words"), [(float("nan"), "NaN"), (float("-inf"), "NaN"), (1e6, "too large for F16")]
)
def test_a_number_that_is_none_is_named_with_its_tensor(value: float, words: str, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    name = "model.layers.1.self_attn.k_proj.weight"
    set_number(folder / "model.safetensors", name, value)
    error = refusal(lambda: write_gguf(folder, tmp_path / "model.gguf"))
    assert error.problems[0].field == name
    assert words in error.message
    assert rest(tmp_path) == []


@pytest.mark.parametrize(
    ("file_type", "value", "stored"),
    [
        (FileType.F16, 1 + 1 / 2048, 1.0),  # half way: to the even one
        (FileType.F16, 1 + 3 / 2048, 1 + 2 / 1024),
        (FileType.F16, 65504.0, 65504.0),
        (FileType.F16, 3e-6, 50 * 2.0**-24),
        (FileType.BF16, 1 + 1 / 256, 1.0),
        (FileType.BF16, -1 - 3 / 256, -1 - 2 / 128),
        (FileType.BF16, 3.1415927, 3.140625),
        (FileType.F32, 0.5 + 2**-24, 0.5 + 2**-24),
    ],
)
def test_casts_are_to_the_nearest_number(
    file_type: FileType, value: float, stored: float, tmp_path: Path
) -> None:
    import gguf

    folder = make_model(tmp_path / "model")
    set_number(folder / "model.safetensors", "model.layers.1.mlp.up_proj.weight", value)
    written = write_gguf(folder, tmp_path / "model.gguf", file_type)
    found = next(one for one in gguf.GGUFReader(written.path).tensors if one.name == "blk.1.ffn_up.weight")
    assert float(gguf.quants.dequantize(found.data, found.tensor_type).reshape(-1)[2]) == stored


def test_a_writing_that_is_ended_leaves_nothing(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")

    def stop(tensor: str, done: int, total: int) -> None:
        assert 0 < done <= total
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_gguf(folder, tmp_path / "model.gguf", progress=stop)
    assert rest(tmp_path) == []


def test_a_killed_writing_leaves_no_file_under_the_name(tmp_path: Path) -> None:
    folder, target = make_model(tmp_path / "model"), tmp_path / "model.gguf"
    code = (
        "import os, signal, sys; from tunesmith.gguf import write_gguf\n"
        "write_gguf(sys.argv[1], sys.argv[2], progress=lambda *told: told[1] < told[2] / 2 "
        "or os.kill(os.getpid(), signal.SIGKILL))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder), str(target)], check=False)
    assert done.returncode == -9
    assert not target.exists()
    assert write_gguf(folder, target).path == target


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """As a limit on a file's size says it: the system takes no more."""
    folder = make_model(tmp_path / "model")
    code = (
        "import resource, sys; from tunesmith.gguf import write_gguf\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try: write_gguf(sys.argv[1], sys.argv[2])\n"
        "except OSError: sys.exit(3)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(tmp_path / "model.gguf")], check=False
    )
    assert done.returncode == 3
    assert rest(tmp_path) == []


def test_what_lies_there_stays(tmp_path: Path) -> None:
    folder, target = make_model(tmp_path / "model"), tmp_path / "模型 一.gguf"
    written = write_gguf(folder, target)
    before = target.read_bytes()
    assert written.bytes == len(before) > plan_gguf(folder).bytes
    with pytest.raises(NotOurs, match="there already"):
        write_gguf(folder, target)
    (tmp_path / "link.gguf").symlink_to(tmp_path / "nowhere")
    with pytest.raises(NotOurs):
        write_gguf(folder, tmp_path / "link.gguf")
    assert target.read_bytes() == before
    with pytest.raises(FileNotFoundError):
        write_gguf(folder, tmp_path / "no" / "folder.gguf")


def test_memory_is_that_of_a_block(tmp_path: Path) -> None:
    """Not of a tensor, and not of the model."""
    folder = make_model(tmp_path / "model", intermediate_size=2**20)
    plan_gguf(folder)  # what is imported and kept is no part of it
    tracemalloc.start()
    try:
        written = write_gguf(folder, tmp_path / "model.gguf", FileType.F16)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert written.bytes > 190e6
    assert max(tensor.bytes for tensor in plan_gguf(folder).tensors) > 30e6
    assert peak < 30e6
    written.path.unlink()


# --- adapters


def make_adapter(
    folder: Path, *, module: str = "model.layers.0.self_attn.q_proj", rank: int = 2, **config: Any
) -> Path:
    folder.mkdir()
    values = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(values | config))
    prefix = f"base_model.model.{module}"
    shapes = {f"{prefix}.lora_A.weight": [rank, 16], f"{prefix}.lora_B.weight": [16, rank]}
    (folder / "adapter_model.safetensors").write_bytes(safetensors(shapes))
    return folder


@pytest.mark.parametrize("field", _NOT_WRITTEN)
def test_a_lora_that_is_more_than_pairs_is_refused(field: str, tmp_path: Path) -> None:
    base = make_model(tmp_path / "model")
    adapter = make_adapter(tmp_path / "adapter", **{field: True})
    error = refusal(lambda: plan_lora_gguf(adapter, base))
    assert error.problems[0].field == field
    assert error.hint
    assert "package" in error.hint


@pytest.mark.parametrize(
    ("field", "made"),
    [
        ("bias", {"bias": "all"}),
        ("init_lora_weights", {"init_lora_weights": "pissa"}),
        ("base_model.model.lm_head.lora_A.weight", {"module": "lm_head"}),
        ("base_model.model.model.embed_tokens.lora_A.weight", {"module": "model.embed_tokens"}),
        (
            "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight",
            {"module": "model.layers.7.self_attn.q_proj"},
        ),
        ("model.layers.0.self_attn.k_proj", {"module": "model.layers.0.self_attn.k_proj"}),
        ("model.layers.0.self_attn.q_proj", {"rank": 4}),
        ("r", {"rank_pattern": {"q_proj": 0}}),
        ("lora_alpha", {"alpha_pattern": {"q_proj": "much"}}),
    ],
)
def test_a_lora_of_another_model_is_refused(field: str, made: dict[str, Any], tmp_path: Path) -> None:
    base, adapter = make_model(tmp_path / "model"), make_adapter(tmp_path / "adapter", **made)
    error = refusal(lambda: write_lora_gguf(adapter, base, tmp_path / "lora.gguf"))
    assert error.problems[0].field == field
    assert not (tmp_path / "lora.gguf").exists()


def test_a_lora_is_written_as_it_is(tmp_path: Path) -> None:
    import gguf

    base, adapter = make_model(tmp_path / "model"), make_adapter(tmp_path / "adapter")
    weights = adapter / "adapter_model.safetensors"
    set_number(weights, "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", 0.1)
    written = write_lora_gguf(adapter, base, tmp_path / "lora.gguf")
    reader = gguf.GGUFReader(written.path)
    assert reader.get_field("adapter.lora.alpha").contents() == 4.0
    assert [tensor.name for tensor in reader.tensors] == [
        "blk.0.attn_q.weight.lora_a",
        "blk.0.attn_q.weight.lora_b",
    ]
    # The second row of a head of 4 is turned with the fourth: it comes third.
    assert reader.tensors[1].data.reshape(16, 2)[2, 0] == np.float32(0.1)
