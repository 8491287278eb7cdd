"""A model folder is told good or bad from its files, with a cure for each usual defect."""

import json
import os
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model_files import safetensors
from tiny_model import make_tiny_model, make_tokenizer_folder

from tunesmith.errors import InvalidInput, InvalidModel
from tunesmith.model_folder import (
    LinearLayers,
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

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 4,
    "max_position_embeddings": 64,
}


LAYERS = {
    "model.embed_tokens.weight": [4, 2],
    "model.layers.0.self_attn.q_proj.weight": [2, 2],
    "model.layers.0.self_attn.q_proj.bias": [2],
    "model.layers.0.mlp.down_proj.weight": [2, 3],
    "model.layers.0.input_layernorm.weight": [2],
    "model.norm.weight": [2],
    "lm_head.weight": [4, 2],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = make_tokenizer_folder(tmp_path / "model")
    (made / "config.json").write_text(json.dumps(CONFIG))
    (made / "model.safetensors").write_bytes(safetensors(LAYERS))
    return made


def change_config(folder: Path, **values: Any) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | values))


def test_facts(folder: Path) -> None:
    assert check_model_folder(folder) == ModelFacts(
        path=str(folder),
        architecture="LlamaForCausalLM",
        model_type="llama",
        parameters=8 + 4 + 2 + 6 + 2 + 2 + 8,
        dtype="float32",
        context_length=64,
        vocab_size=4,
        linear_modules=("down_proj", "q_proj"),
        linear_layers=(
            LinearLayers(name="down_proj", shape=(2, 3), count=1),
            LinearLayers(name="q_proj", shape=(2, 2), count=1),
        ),
        is_head_tied=False,
        tokenizer="BPE",
        has_chat_template=True,
        license=None,
        bytes=(folder / "model.safetensors").stat().st_size,
        weight_files=("model.safetensors",),
        modules={
            "lm_head": (4, 2),
            "model.embed_tokens": (4, 2),
            "model.layers.0.mlp.down_proj": (2, 3),
            "model.layers.0.self_attn.q_proj": (2, 2),
        },
        biases={"model.layers.0.self_attn.q_proj.bias": 2},
    )
    assert "modules" not in check_model_folder(folder).model_dump()


def test_a_model_that_transformers_wrote(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    path = make_tiny_model(tmp_path / "tiny", with_template=False)
    facts = check_model_folder(path)
    model = AutoModelForCausalLM.from_pretrained(path)
    assert facts.parameters == sum(p.numel() for p in model.parameters())
    head = model.get_output_embeddings()
    linear = {
        n.split(".")[-1] for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head
    }
    assert set(facts.linear_modules) == linear
    assert not facts.has_chat_template
    assert facts.dtype == "float32"
    check_targets(facts, ["q_proj", "v_proj"])


def split(folder: Path) -> None:
    """The same weights as two shards and an index."""
    names = list(LAYERS)
    shards = {"model-00001-of-00002.safetensors": names[:3], "model-00002-of-00002.safetensors": names[3:]}
    for shard, held in shards.items():
        (folder / shard).write_bytes(safetensors({name: LAYERS[name] for name in held}, "BF16", 2))
    weight_map = {name: shard for shard, held in shards.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "model.safetensors").unlink()


def test_shards(folder: Path) -> None:
    split(folder)
    facts = check_model_folder(folder)
    assert facts.dtype == "bfloat16"
    assert facts.parameters == 32
    assert facts.weight_files == ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def test_a_language_part_inside_a_larger_config(folder: Path) -> None:
    config = {"architectures": ["XForConditionalGeneration"], "model_type": "x"}
    text = {"vocab_size": 4, "max_position_embeddings": 32}
    (folder / "config.json").write_text(json.dumps(config | {"text_config": text}))
    assert (check_model_folder(folder).context_length, check_model_folder(folder).vocab_size) == (32, 4)


def drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def put(name: str, data: bytes | str) -> Callable[[Path], None]:
    return lambda folder: (
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode()) and None
    )


def config(**values: Any) -> Callable[[Path], None]:
    return lambda folder: change_config(folder, **values)


def only(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / name)

    return change


def link(name: str) -> Callable[[Path], None]:
    """A link to a file that is fine."""

    def change(folder: Path) -> None:
        file = folder / name
        kept = folder.parent / f"kept-{name}"
        kept.write_bytes(file.read_bytes() if file.exists() else b"a license")
        file.unlink(missing_ok=True)
        file.symlink_to(kept)

    return change


def pipe(name: str) -> Callable[[Path], None]:
    """A pipe that nobody writes into: who opens it waits for ever."""
    return lambda folder: os.mkfifo(folder / name)


def nested(depth: int, key: str = "a") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(depth):
        found = {key: found}
    return found


def without_a_shard(folder: Path) -> None:
    split(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def shard_outside(folder: Path) -> None:
    split(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../x.safetensors"}}')


def index_of_another_model(folder: Path) -> None:
    split(folder)
    file = folder / "model.safetensors.index.json"
    weight_map = json.loads(file.read_text())["weight_map"]
    file.write_text(json.dumps({"weight_map": weight_map | {"model.other": next(iter(weight_map.values()))}}))


def cut_off(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def cut_in_header(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:50])


def overlapping(folder: Path) -> None:
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    text = json.dumps({"a": entry, "b": entry}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (drop("config.json"), "no `config.json`", "original"),
        (put("config.json", "{"), "broken JSON", "original"),
        (put("config.json", "[]"), "no JSON object", "original"),
        (put("config.json", b"\xff\xfe"), "broken JSON", "original"),
        (config(auto_map={"AutoModel": "x.py"}), "auto_map", "remove `auto_map`"),
        (
            put("tokenizer_config.json", '{"auto_map": {"AutoTokenizer": "x.py"}}'),
            "auto_map",
            "remove `auto_map`",
        ),
        (put("modeling_x.py", ""), "`modeling_x.py`", "delete the `*.py` files"),
        (put("modeling_x.PY", ""), "`modeling_x.PY`, a program", "delete the `*.py` files"),
        (put("kernel.so", ""), "`kernel.so`, a program", "remove"),
        (put("setup.Py. ", ""), "`setup.Py. `, a program", "remove"),
        (put("x.pyc", ""), "`x.pyc`, a program", "remove"),
        (put("pytorch_model.bin", ""), "`pytorch_model.bin`, a pickle", "Remove it"),
        (put("training_args.BIN", ""), "`training_args.BIN`, a pickle", "Remove it"),
        (put("tokenizer.pkl", ""), "`tokenizer.pkl`, a pickle", "Remove it"),
        (put("rng_state.pth", ""), "`rng_state.pth`, a pickle", "Remove it"),
        (put("__0_0.distcp", ""), "`__0_0.distcp`, a pickle", "Remove it"),
        (put("model.unheard-of", ""), "`.unheard-of` file", "Move it"),
        (link("LICENSE"), "`LICENSE`, a link", "cp -rL"),
        (link("tokenizer.json"), "`tokenizer.json`, a link", "cp -rL"),
        (pipe("generation_config.json"), "`generation_config.json`, a pipe", "Remove it"),
        (pipe("chat_template.jinja"), "`chat_template.jinja`, a pipe", "Remove it"),
        (config(text_config={"auto_map": {"AutoModel": "x.py"}}), "auto_map", "remove `auto_map`"),
        (config(custom_pipelines={"a": {"impl": "x.P"}}), "custom_pipelines", "remove"),
        (
            config(_attn_implementation="owner/kernel@main:run"),
            "a program for `_attn_implementation`",
            "Take it out",
        ),
        (
            config(experts_implementation={"": "owner/kernel"}),
            "a program for `experts_implementation`",
            "Take it out",
        ),
        (config(vision_config={"_attn_implementation_internal": "a/b"}), "a program", "Take it out"),
        (config(hidden_act="owner/kernel"), "`hidden_act` holds text that is no plain word", "Take it out"),
        (config(dtype="os"), "`dtype` is `os`", "Take it out"),
        (config(rope_scaling={"rope_type": "../x"}), "`rope_scaling` holds `rope_type`", "Take it out"),
        (config(rope_scaling=nested(50)), "nested too deeply", "Take it out"),
        (config(text_config=nested(200, "text_config")), "nested too deeply", "Take it out"),
        (put("generation_config.json", '{"custom_generate": "x.py"}'), "custom_generate", "remove"),
        (put("config.json", " " * (4 * 2**20 + 1)), "larger than 4 MB", "original"),
        (config(model_type=None), "no `model_type`", "original"),
        (config(architectures=[]), "no `architectures`", "original"),
        (config(architectures=["BertModel"]), "`BertModel` does not write text", "ForCausalLM"),
        (config(architectures=["BertForMaskedLM"]), "does not write text", "ForCausalLM"),
        (config(is_encoder_decoder=True), "does not write text", "ForCausalLM"),
        (config(quantization_config={"bits": 4}), "quantised already", "original"),
        (config(vocab_size=None), "no `vocab_size`", "original"),
        (drop("model.safetensors"), "holds no weights", "original"),
        (only("model.gguf"), "only GGUF", "base model"),
        (only("pytorch_model.bin"), "`pytorch_model.bin`, a pickle", "safe_serialization=True"),
        (only("model.pt"), "`model.pt`, a pickle", "safe_serialization=True"),
        (only("consolidated.safetensors"), "only `consolidated.safetensors`", "rename"),
        (without_a_shard, "1 of 2 weight files are missing: `model-00002-of-00002.safetensors`", "Copy"),
        (shard_outside, "outside its folder", "Copy"),
        (index_of_another_model, "`model.other`", "different models"),
        (cut_off, "its header says", "broke off"),
        (cut_in_header, "cut off", "broke off"),
        (put("model.safetensors", b""), "cut off", "broke off"),
        (put("model.safetensors", b"\xff" * 100), "cut off", "broke off"),
        (put("model.safetensors", struct.pack("<Q", 4) + b"[1 2"), "broken safetensors header", "broke off"),
        (put("model.safetensors", struct.pack("<Q", 4) + b"[12]"), "broken safetensors header", "broke off"),
        (put("model.safetensors", safetensors({})), "holds no tensor", "Copy"),
        (put("model.safetensors", safetensors(LAYERS, "BF16", 4)), "does not fit its shape", "broke off"),
        (put("model.safetensors", safetensors(LAYERS, spare=1)), "its header says", "broke off"),
        (overlapping, "does not fit its shape and place", "broke off"),
        (
            put("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
            "Git LFS pointer",
            "git lfs pull",
        ),
        (drop("tokenizer.json"), "no `tokenizer.json`", "save_pretrained"),
        (put("tokenizer.json", "{}"), "is no tokenizer", "original"),
        (put("tokenizer_config.json", "{"), "broken JSON", "original"),
    ],
)
def test_refusals(folder: Path, change: Callable[[Path], None], message: str, hint: str) -> None:
    (folder / "chat_template.jinja").unlink()  # so that `tokenizer_config.json` is looked into
    change(folder)
    with pytest.raises(InvalidModel) as caught:
        check_model_folder(folder)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
    assert caught.value.problems[0].field


def test_places_that_are_no_model_folder(folder: Path, tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "none", "does not exist"),
        (folder / "config.json", "is a file, not a model folder"),
        (tmp_path, "no `config.json`"),
    ):
        with pytest.raises(InvalidModel, match=message):
            check_model_folder(path)
    shutil.copy(folder / "model.safetensors", tmp_path / "x.gguf")
    with pytest.raises(InvalidModel, match="is a GGUF file"):
        check_model_folder(tmp_path / "x.gguf")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    shutil.copy(folder / "model.safetensors", adapter / "adapter_model.safetensors")
    with pytest.raises(InvalidModel, match="LoRA adapter"):
        check_model_folder(adapter)


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
