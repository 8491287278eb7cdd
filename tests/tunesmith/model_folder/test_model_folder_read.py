"""What is read of a model folder's files: targets, licenses, ends, configurations and adapters by keys on a list."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from model_files import safetensors
from small_folders import LAYERS, change_config

from tunesmith.errors import InvalidInput, InvalidModel
from tunesmith.model_folder import (
    ModelFacts,
    check_adapter_folder,
    check_model_folder,
    check_targets,
    check_tokenizer_folder,
    license_text,
    readable_config,
    readable_generation,
    readable_lora,
    refuse_weight_file,
)


@pytest.mark.parametrize(
    "targets",
    [
        ["all-linear"],
        ["q_proj"],
        ["self_attn.q_proj", "down_proj"],
        ["model.layers.0.mlp.down_proj"],
        ["embed_tokens", "lm_head"],
    ],
)
def test_targets_that_match(folder: Path, targets: list[str]) -> None:
    check_targets(check_model_folder(folder), targets)


@pytest.mark.parametrize(
    ("targets", "message", "hint"),
    [
        (["q_porj", "down_proj"], "no layer named `q_porj`", "`down_proj`, `q_proj`"),
        (["proj"], "no layer named `proj`", "all-linear"),
        (["norm"], "no layer named `norm`", "all-linear"),
        (["all-linear", "q_proj"], "stands alone", "all-linear"),
        ([], "is empty", "all-linear"),
    ],
)
def test_targets_that_do_not_match(folder: Path, targets: list[str], message: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_targets(check_model_folder(folder), targets)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
    assert caught.value.problems[0].field == "target_modules"


def test_a_misspelt_target_gets_a_suggestion(folder: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_targets(check_model_folder(folder), ["q_porj"])
    assert caught.value.problems[0].hint == "Did you mean `q_proj`?"


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"README.md": "---\nlicense: mit\n---\n# Model"}, "mit"),
        ({"README.md": "---\nlicense: other\nlicense_name: llama3\n---\n"}, "llama3"),
        ({"README.md": "---\nlicense: mit\n---\n", "LICENSE": "Something else"}, "mit"),
        ({"LICENSE.txt": "\n  Apache License\nVersion 2.0"}, "Apache License"),
        ({"README.md": "# No front matter\n---\nlicense: mit\n---\n"}, None),
        ({"README.md": "---\nlicense: [broken\n---\n"}, None),
        ({"README.md": "---\n- a list\n---\n"}, None),
        ({"README.md": "---\nlicense: 7\n---\n"}, None),
    ],
)
def test_the_license_that_its_files_name(folder: Path, files: dict[str, str], name: str | None) -> None:
    for file, text in files.items():
        (folder / file).write_text(text)
    assert check_model_folder(folder).license == name


def test_a_license_text_has_an_end(folder: Path) -> None:
    assert license_text(folder) is None
    (folder / "LICENSE").write_text("x" * 100_000)
    assert len(license_text(folder) or "") == 20_000


def test_a_head_is_tied_or_its_own(folder: Path) -> None:
    assert not check_model_folder(folder).is_head_tied
    change_config(folder, tie_word_embeddings=True)
    assert check_model_folder(folder).is_head_tied
    change_config(folder, tie_word_embeddings=False)
    layers = {name: shape for name, shape in LAYERS.items() if name != "lm_head.weight"}
    (folder / "model.safetensors").write_bytes(safetensors(layers))
    assert check_model_folder(folder).is_head_tied, "there is no other matrix"


def test_a_weight_file_is_known_by_its_name() -> None:
    refuse_weight_file("owner/model-7.bin-like")
    for name in ("x.gguf", "x.Q4_K_M.GGUF", "pytorch_model.bin", "x.pt"):
        with pytest.raises(InvalidModel):
            refuse_weight_file(name)


def test_a_folder_as_the_hub_has_it_is_taken(folder: Path) -> None:
    """Cards, pictures, other libraries' weights and configurations lie beside the model and are never opened."""
    for name in (
        "README.md", "LICENSE", "USE_POLICY.md", "banner.PNG", ".gitattributes", ".DS_Store", "merges.txt",
        "vocab.json",
        "tokenizer.model", "preprocessor_config.json", "model.Q4_0.gguf", "tf_model.h5", "flax_model.msgpack",
        "rust_model.ot", "consolidated.safetensors", "onnx_config.yaml",
    ):  # fmt: skip
        (folder / name).write_bytes(b"\x00 no matter what")
    for name in ("onnx", "original", ".cache"):
        (folder / name).mkdir()
    (folder / "original" / "consolidated.00.pth").touch()
    change_config(
        folder,
        torch_dtype="bfloat16",
        transformers_version="4.40.0",
        _attn_implementation="sdpa",
        _name_or_path="somebody/model",
        rope_scaling={"rope_type": "llama3", "factor": 8.0},
        use_cache=True,
        quantization_config=None,
        auto_map=None,
        unsloth_fixed=True,
        id2label={"0": "What a user / writes: anything"},
    )
    (folder / "generation_config.json").write_text(
        '{"do_sample": true, "temperature": 0.6, "eos_token_id": [1, 2]}'
    )
    assert check_model_folder(folder).architecture == "LlamaForCausalLM"


def test_a_checkpoint_of_ours_from_before_is_taken(folder: Path) -> None:
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "rng_state_1.pth"):
        (folder / name).touch()
    with pytest.raises(InvalidModel, match=r"`optimizer.pt`, a pickle"):
        check_model_folder(folder)
    (folder / "manifest.json").write_text("{}")
    check_model_folder(folder)


def test_what_a_configuration_says_is_read_by_keys_on_a_list() -> None:
    """Neither a file, a place, a program nor an implementation that a folder names is seen by a library."""
    said = {
        "model_type": "llama",
        "hidden_size": 8,
        "rope_theta": 1e4,
        "torch_dtype": "float16",
        "id2label": {"0": "a/b"},
        "per_layer_config": {"02": {"hidden_size": 2, "_attn_implementation": "sdpa"}},
        "text_config": {"hidden_size": 4, "transformers_weights": "x.bin", "_attn_implementation": "sdpa"},
    }
    never = {
        "transformers_weights": "other.safetensors",
        "_attn_implementation": "flash_attention_2",
        "attn_implementation": "eager",
        "fusion_config": {"all": True},
        "distributed_config": {"tp_plan": "auto"},
        "base_model_tp_plan": {"x": "y"},
        "name_or_path": "/etc",
        "_name_or_path": "owner/model",
        "architecture": "hf-hub:owner/model",
        "use_kernels": True,
        "backbone": "owner/model",
        "__class__": "x",
    }
    kept = readable_config(said | never)
    assert kept == said | {"text_config": {"hidden_size": 4}, "per_layer_config": {"02": {"hidden_size": 2}}}
    assert readable_generation({"temperature": 1, "cache_implementation": "x", "compile_config": {}}) == {
        "temperature": 1
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"corda_config": {"cache_file": "x.pt"}}, "sets `corda_config`, which is refused"),
        ({"lora_ga_config": {"cache_file": "x.pt"}}, "sets `lora_ga_config`"),
        ({"loftq_config": {"loftq_bits": 4}}, "sets `loftq_config`"),
        ({"init_lora_weights": "corda"}, "`init_lora_weights` is `corda`"),
        ({"peft_type": "MULTITASK_PROMPT_TUNING"}, "only LORA"),
        ({"bias": "os"}, "`bias` is `os`"),
        ({"ranks": 8}, "no field `ranks`"),
    ],
)
def test_an_adapters_configuration_is_read_by_fields_on_a_list(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(message)):
        readable_lora({"r": 8} | values, Path("adapter_config.json"))


def test_an_adapter_that_peft_wrote_is_taken() -> None:
    said = {
        "auto_mapping": {"base_model_class": "X", "parent_library": "os"},
        "base_model_name_or_path": "owner/model",
        "megatron_core": "megatron.core",
        "eva_config": None,
        "loftq_config": {},
        "peft_type": "LORA",
        "r": 4,
        "target_modules": ["q_proj"],
    }
    assert readable_lora(said, Path("x")) == {"r": 4, "target_modules": ["q_proj"]}


@pytest.mark.parametrize("name", ["adapter_model.bin", "modeling.py", "adapter_model.pt"])
def test_an_adapters_folder_holds_no_pickle_and_no_program(folder: Path, name: str) -> None:
    adapter = folder.parent / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"r": 4, "peft_type": "LORA"}')
    shutil.copy(folder / "model.safetensors", adapter / "adapter_model.safetensors")
    check_adapter_folder(adapter)
    (adapter / name).touch()
    with pytest.raises(InvalidModel, match=re.escape(f"`{name}`")):
        check_adapter_folder(adapter)


def test_a_tokenizers_folder_is_looked_at_too(folder: Path) -> None:
    check_tokenizer_folder(folder)
    (folder / "tokenization_x.py").touch()
    with pytest.raises(InvalidModel, match="tokenization_x"):
        check_tokenizer_folder(folder)


def test_what_is_read_in_another_process_is_all_of_it(folder: Path) -> None:
    """What the views leave out too: encoders were taken, as nobody told the platform that they see what they write."""
    from tunesmith_platform.sandbox import checks

    change_config(folder, model_type="bert", architectures=["BertLMHeadModel"])
    stacked = LAYERS | {"model.layers.0.mlp.experts.gate_up_proj": [2, 4, 2]}
    (folder / "model.safetensors").write_bytes(safetensors(stacked))
    facts = checks.model_facts(folder)
    assert facts == check_model_folder(folder)
    hidden = {name for name, field in ModelFacts.model_fields.items() if field.exclude}
    assert hidden
    assert all(getattr(facts, name) for name in hidden), "each is told"
