"""A folder that we write is read alike by its other readers: its configurations hold the names of before too.

The fast tests look at the files, and at what today's library makes of them. The long one installs the library of before
beside the environment, in the releases named below, and compares what it computes with what the run did.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import training_run as tr
from small_models import BLOCK, model_of

from tunesmith.lifecycle import State
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.models.older_readers import (
    with_older_names,
    with_older_tokenizer,
    write_for_older_readers,
)

pytestmark = pytest.mark.usefixtures("one_thread")
RELEASES = ["transformers==4.57.6", "tokenizers==0.22.2", "huggingface_hub==0.36.2", "peft==0.17.1"]
PLAIN = {"rope_type": "default", "rope_theta": 777.0}
LINEAR = {"rope_type": "linear", "factor": 2.0, "rope_theta": 777.0}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 777.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}  # fmt: skip
SCALED = {name: value for name, value in LLAMA3.items() if name != "rope_theta"}
SHORT = [1.0] * 8
LONG = {"rope_type": "longrope", "rope_theta": 333.0, "partial_rotary_factor": 1.0, "short_factor": SHORT,
        "long_factor": [2.0] * 8, "original_max_position_embeddings": 256}  # fmt: skip
BY_LAYER = {"sliding_attention": {"rope_type": "default", "rope_theta": 500.0}, "full_attention": LINEAR}


@pytest.mark.parametrize(
    ("config", "older"),
    [
        ({"model_type": "llama", "rope_parameters": PLAIN}, {"rope_theta": 777.0}),
        ({"model_type": "llama", "rope_parameters": LLAMA3},
         {"rope_theta": 777.0, "rope_scaling": SCALED | {"type": "llama3"}}),
        ({"model_type": "stablelm", "rope_parameters": PLAIN | {"partial_rotary_factor": 0.5}},
         {"rope_theta": 777.0, "partial_rotary_factor": 0.5}),
        ({"model_type": "gpt_neox", "rope_parameters": PLAIN | {"partial_rotary_factor": 0.5}},
         {"rotary_emb_base": 777.0, "rotary_pct": 0.5}),
        ({"model_type": "olmo2", "rope_parameters": LINEAR},
         {"rope_theta": 777.0, "rope_scaling": {"type": "linear", "factor": 2.0}}),
        ({"model_type": "phi3", "hidden_size": 64, "num_attention_heads": 4, "rope_parameters": LONG,
          "original_max_position_embeddings": 256},
         {"rope_theta": 333.0, "rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": [2.0] * 8}}),
        ({"model_type": "gemma3_text", "rope_parameters": BY_LAYER},
         {"rope_theta": 777.0, "rope_local_base_freq": 500.0,
          "rope_scaling": {"rope_type": "linear", "type": "linear", "factor": 2.0}}),
        ({"model_type": "qwen3_moe", "num_local_experts": 8}, {"num_experts": 8}),
        ({"model_type": "llama", "dtype": "bfloat16"}, {"torch_dtype": "bfloat16"}),
        ({"model_type": "granitemoehybrid", "layer_types": ["linear_attention", "full_attention"]},
         {"layer_types": ["mamba", "attention"], "layers_block_type": ["mamba", "attention"]}),
        ({"model_type": "mamba2", "time_step_limit": [0.0, {"__float__": "Infinity"}]},
         {"time_step_limit": [0.0, float("inf")]}),
        ({"model_type": "no_such_model", "rope_parameters": PLAIN, "dtype": "float32"}, {"torch_dtype": "float32"}),
    ],
)  # fmt: skip
def test_a_configuration_has_the_names_of_before_too(config: dict[str, Any], older: dict[str, Any]) -> None:
    found = with_older_names(config)
    assert {name: found.get(name) for name in older} == older
    assert found.keys() >= config.keys()
    assert with_older_names(found) == found


def test_the_parts_of_a_configuration_have_them_too() -> None:
    text = {"model_type": "llama", "rope_parameters": PLAIN}
    found = with_older_names({"model_type": "llava", "text_config": text, "other_config": {"a": 1}})
    assert found["text_config"]["rope_theta"] == 777.0
    assert found["other_config"] == {"a": 1}


def turned(parameters: Any) -> Any:
    """How positions are turned, without the older name of the form."""
    if not isinstance(parameters, dict):
        return parameters
    return {name: turned(value) for name, value in parameters.items() if name != "type"}


@pytest.mark.parametrize("form", ["default", "linear", "yarn", "dynamic"])
def test_todays_library_reads_the_same_from_both(tmp_path: Path, form: str) -> None:
    """Of every causal model that it knows: some prefer the spelling of before where both are there."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    more = {
        "linear": {"factor": 2.0},
        "yarn": {"factor": 4.0, "original_max_position_embeddings": 64},
        "dynamic": {"factor": 2.0},
    }.get(form, {})
    looked_at = 0
    for kind in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        try:
            config = CONFIG_MAPPING[kind]()
            parameters = getattr(config, "rope_parameters", None)
            if not isinstance(parameters, dict):
                continue
            for one in [part for part in parameters.values() if isinstance(part, dict)] or [parameters]:
                one["rope_theta"] = 777.0
                if form != "default":
                    one.update(rope_type=form, **more)
            config.save_pretrained(tmp_path)
            before = CONFIG_MAPPING[kind].from_pretrained(tmp_path).rope_parameters
        except Exception:  # a form that this kind does not have
            continue
        write_for_older_readers(tmp_path)
        after = CONFIG_MAPPING[kind].from_pretrained(tmp_path).rope_parameters
        assert turned(after) == turned(before), kind
        looked_at += 1
    assert looked_at > 50


def test_a_tokenizers_configuration_names_a_class_and_lists_of_before() -> None:
    said = {
        "tokenizer_class": "TokenizersBackend",
        "extra_special_tokens": ["<a>", "<b>"],
        "eos_token": "<e>",
    }
    assert with_older_tokenizer(said) == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": ["<a>", "<b>"],
        "eos_token": "<e>",
    }
    before = {"tokenizer_class": "LlamaTokenizer", "extra_special_tokens": {"image_token": "<i>"}}
    assert with_older_tokenizer(before) == before


def test_a_tokenizer_that_todays_library_saved_gives_the_same_ids(tmp_path: Path, model: Path) -> None:
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(model, extra_special_tokens=["<|im_start|>"])
    made.save_pretrained(tmp_path)
    text = "<|im_start|>user\nHello 你好 world<|im_end|>"
    before = AutoTokenizer.from_pretrained(tmp_path)
    write_for_older_readers(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] != "TokenizersBackend"
    assert not isinstance(config.get("extra_special_tokens"), list)
    after = AutoTokenizer.from_pretrained(tmp_path)
    assert after(text).input_ids == before(text).input_ids == made(text).input_ids
    assert after.all_special_tokens == before.all_special_tokens


WAYS: dict[str, dict[str, Any]] = {
    "adapter": {},
    "merged": {"merge_lora_after_training": True},
    "whole": {"use_lora": False, "learning_rate": 1e-3},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_final_folder_holds_the_model_and_how_it_was_made(tmp_path: Path, model: Path, way: str) -> None:
    base = tmp_path / "bases" / "small"
    base.parent.mkdir()
    base.symlink_to(model)
    held_out = tr.write_rows(tmp_path / "held-out.jsonl", 4)
    (tmp_path / "turns.jinja").write_text((model / "chat_template.jinja").read_text())
    outcome = tr.run(
        tmp_path,
        base,
        max_steps=1,
        eval_rows=str(held_out),
        tokenizer=base,
        chat_template=str(tmp_path / "turns.jinja"),
        output_dir=str(tmp_path / "published"),
        **WAYS[way],
    )
    assert outcome.outcome is State.COMPLETED, outcome
    folder = tmp_path / "artifacts" / "model"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    adapter = {"adapter_config.json", "adapter_model.safetensors"}
    own = {
        "adapter": adapter,
        "whole": {"config.json", "model.safetensors"},
        "merged": {"config.json", "model.safetensors", *(f"adapter/{name}" for name in adapter)},
    }[way]
    assert names == own | {
        "README.md", "chat_template.jinja", "generation_config.json", "manifest.json", "tokenizer.json",
        "tokenizer_config.json", "training_parameters.json",
    }  # fmt: skip
    settings = json.loads((folder / "generation_config.json").read_text())
    assert settings["eos_token_id"] == json.loads((model / "config.json").read_text())["eos_token_id"]
    trained = TrainSpec.stored(json.loads((folder / "training_parameters.json").read_text()))
    assert (trained.max_steps, trained.r, trained.use_lora) == (1, 16, way != "whole")
    assert (trained.model_name_or_path, trained.train_file) == ("small", "train.jsonl")
    checkpoint = tmp_path / "artifacts" / "checkpoints" / "checkpoint-1"
    # Where a base lies that no hub has is in the manifest of an adapter over it alone: its card loads it from there.
    published = tmp_path / "published"
    allowed = (
        {place / "model/manifest.json" for place in (folder.parent, published)} if way == "adapter" else set()
    )
    files = [path for place in (folder, checkpoint, published) for path in place.rglob("*") if path.is_file()]
    assert len({path.name for path in files} & {"training_args.json", "training_parameters.json"}) == 2
    for file in set(files) - allowed:
        assert str(tmp_path).encode() not in file.read_bytes(), file
    for place in (folder, checkpoint):
        config = place / "config.json"
        assert not config.is_file() or "rope_theta" in json.loads(config.read_text())


@pytest.mark.parametrize("given", ["file", "id"])
def test_an_adapter_names_its_base_by_its_hub_id(tmp_path: Path, model: Path, given: str) -> None:
    """As it was pulled, or as the task called it."""
    from shutil import copytree

    base = copytree(model, tmp_path / "small")
    (base / ".hub-id").write_text("owner/Small-1B") if given == "file" else None
    more = {} if given == "file" else {"model_name_or_path": "owner/Small-1B"}
    assert tr.run(tmp_path, base, max_steps=1, **more).outcome is State.COMPLETED
    for folder in (tmp_path / "artifacts" / "model", tmp_path / "artifacts" / "checkpoints" / "checkpoint-1"):
        config = json.loads((folder / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "owner/Small-1B"
    card = (tmp_path / "artifacts" / "model" / "README.md").read_text()
    assert "base_model: owner/Small-1B\n" in card
    assert 'AutoPeftModelForCausalLM.from_pretrained(".")' in card


def test_answers_end_where_the_template_ends_them(tmp_path: Path, model: Path) -> None:
    """The base's own settings know its end of a text, not the mark that ends an answer."""
    from shutil import copytree

    from tokenizers import Tokenizer

    tokens = Tokenizer.from_file(str(model / "tokenizer.json"))
    text, answer = tokens.token_to_id("<|endoftext|>"), tokens.token_to_id("<|im_end|>")
    base = copytree(model, tmp_path / "base")
    (base / "generation_config.json").write_text(
        json.dumps({"eos_token_id": text, "temperature": 0.6, "do_sample": True})
    )
    assert tr.run(tmp_path, base, max_steps=1).outcome is State.COMPLETED
    settings = json.loads((tmp_path / "artifacts" / "model" / "generation_config.json").read_text())
    assert settings == {"eos_token_id": [text, answer], "temperature": 0.6, "do_sample": True}


@pytest.mark.parametrize(
    ("lora", "word"),
    [
        ({"target_modules": ["q_proj", "embed_tokens"], "init_lora_weights": "pissa_niter_2"}, None),
        ({"target_modules": ".*_proj", "rank_pattern": {"q_proj": 2}}, "`rank_pattern`"),
    ],
)
def test_an_adapter_is_of_what_vllm_and_llama_cpp_read(
    tmp_path: Path, model: Path, lora: dict[str, Any], word: str | None
) -> None:
    """Matrices by peft's names, nothing of the base's; one rank for all, or the card says that they differ."""
    from safetensors import safe_open

    (tmp_path / "lora.json").write_text(json.dumps({"r": 4, "lora_alpha": 8} | lora))
    more = {"peft_config_path": str(tmp_path / "lora.json"), "lora_dropout": 0.0}
    assert tr.run(tmp_path, model, max_steps=1, **more).outcome is State.COMPLETED
    folder = tmp_path / "artifacts" / "model"
    config = json.loads((folder / "adapter_config.json").read_text())
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        names = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    ends = ("lora_A.weight", "lora_B.weight", "lora_embedding_A", "lora_embedding_B")
    assert names
    assert all(name.startswith("base_model.model.model.") and name.endswith(ends) for name in names)
    ranks = {
        shape[0] for name, shape in names.items() if name.endswith(("lora_A.weight", "lora_embedding_A"))
    }
    assert ranks == ({config["r"]} if word is None else {2, config["r"]})
    card = (folder / "README.md").read_text()
    assert ("vLLM" in card) == (word is not None)
    assert word is None or word in card


def test_a_model_without_a_tokenizer_is_trained_with_anothers(tmp_path: Path, model: Path) -> None:
    from shutil import copytree

    from transformers import AutoTokenizer

    texts = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    base, tokenizer = copytree(model, tmp_path / "base"), copytree(model, tmp_path / "tokenizer")
    for name in texts:
        (base / name).unlink()
    outcome = tr.run(tmp_path, base, tokenizer=tokenizer, max_steps=1, merge_lora_after_training=True)
    assert outcome.outcome is State.COMPLETED, outcome
    folder = tmp_path / "artifacts" / "model"
    for name in texts:
        assert (folder / name).read_bytes() == (model / name).read_bytes()
    text = "<|im_start|>user\nWho?"
    assert (
        AutoTokenizer.from_pretrained(folder)(text).input_ids
        == AutoTokenizer.from_pretrained(model)(text).input_ids
    )


KINDS: dict[str, dict[str, Any]] = {
    "llama": {"rope_parameters": LLAMA3},
    "qwen2": {"rope_parameters": PLAIN},
    "qwen3_moe": {"rope_parameters": PLAIN},
    "mixtral": {"rope_parameters": PLAIN},
    "gpt_oss": {},
    "gemma3_text": BLOCK | {"head_dim": 16, "sliding_window": 16, "rope_parameters": BY_LAYER,
                            "layer_types": ["sliding_attention", "full_attention"]},
    "phi3": BLOCK | {"rope_parameters": LONG, "original_max_position_embeddings": 256},
    "stablelm": BLOCK | {"rope_parameters": PLAIN | {"partial_rotary_factor": 0.5}},
    "olmo2": BLOCK | {"rope_parameters": LINEAR},
    "mamba2": {},
}  # fmt: skip
LORAS: dict[str, dict[str, Any]] = {
    "drawn start": {"init_lora_weights": "pissa_niter_2", "use_rslora": True, "target_modules": ["q_proj"]},
    "every layer": {"use_dora": True, "target_modules": "all-linear"},
    "single rows": {"trainable_token_indices": [5, 6], "target_modules": ["q_proj"]},
    "saved head": {"modules_to_save": ["lm_head"], "target_modules": ["q_proj"]},
}  # fmt: skip
_READ = """
import json, sys, torch, transformers
from pathlib import Path
assert transformers.__version__.startswith("4.57"), transformers.__version__
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
for folder, base in json.loads(sys.argv[1]):
    model = AutoModelForCausalLM.from_pretrained(base or folder).eval()
    if base:
        model = PeftModel.from_pretrained(model, folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("Hello world")["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=torch.arange(5, 60)[None]).logits
    torch.save((logits, ids), Path(folder).parent / "read.pt")
"""


@pytest.mark.long
def test_the_library_of_before_computes_the_same(tmp_path: Path) -> None:
    import os

    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    packages = tmp_path / "packages"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--target", str(packages), *RELEASES], check=True)
    asked: list[tuple[str, str | None]] = []
    wanted: dict[str, Any] = {}

    def remember(folder: Path, base: Path | None) -> None:
        model = AutoModelForCausalLM.from_pretrained(base or folder)
        model = (PeftModel.from_pretrained(model, folder) if base else model).eval()
        with torch.no_grad():
            logits = model(input_ids=torch.arange(5, 60)[None]).logits
        wanted[str(folder)] = logits, AutoTokenizer.from_pretrained(folder)("Hello world").input_ids
        asked.append((str(folder), str(base) if base else None))

    for kind, config in KINDS.items():
        base = model_of(kind, tmp_path / kind / "base", **config)
        given = {"use_lora": False, "learning_rate": 1e-3}
        assert tr.run(tmp_path / kind, base, max_steps=1, **given).outcome is State.COMPLETED
        remember(tmp_path / kind / "artifacts" / "model", None)
    base = model_of("qwen2", tmp_path / "base", rope_parameters=PLAIN)
    write_for_older_readers(base)
    for name, lora in LORAS.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "lora.json").write_text(json.dumps({"r": 4} | lora))
        given = {"peft_config_path": str(folder / "lora.json"), "lora_dropout": 0.0}
        assert tr.run(folder, base, max_steps=2, **given).outcome is State.COMPLETED
        remember(folder / "artifacts" / "model", base)
    environment = os.environ | {"PYTHONPATH": str(packages), "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", _READ, json.dumps(asked)], check=True, env=environment)
    for folder, (logits, ids) in wanted.items():
        found, read_ids = torch.load(Path(folder).parent / "read.pt", weights_only=True)
        assert float((found - logits).abs().max()) < 1e-4, folder
        assert read_ids == ids, folder
