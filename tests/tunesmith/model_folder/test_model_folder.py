"""A model folder is told good or bad from its files, with a cure for each usual defect."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model_files import safetensors
from small_folders import LAYERS, change_config
from tiny_model import make_tiny_model

from tunesmith.errors import InvalidModel
from tunesmith.model_folder import (
    LinearLayers,
    ModelFacts,
    check_model_folder,
    check_targets,
)


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
        left_out=8,  # the head that answers, which a classifier has none of
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
