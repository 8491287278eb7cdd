"""A model folder is told good or bad from its files, with a cure for each usual defect."""

import json
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
    check_model_folder,
    check_targets,
    license_text,
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
        module_paths=(
            "lm_head",
            "model.embed_tokens",
            "model.layers.0.mlp.down_proj",
            "model.layers.0.self_attn.q_proj",
        ),
    )
    assert "module_paths" not in check_model_folder(folder).model_dump()


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
