"""A model's folder cannot lead to code: what is not on the list does not exist for the libraries that load it."""

import json
import os
import pickle
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

from tunesmith.errors import InvalidModel
from tunesmith.model_folder.config_keys import CONFIG_KEYS


class Mark:
    """Leaves a file where it is read as a pickle."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return (Path.touch, (self.place,))


@pytest.fixture
def hostile(tmp_path: Path, model: Path) -> Path:
    """A sound model with everything beside it that some library would run, read or follow."""
    folder = tmp_path / "hostile"
    shutil.copytree(model, folder)
    mark = tmp_path / "mark"
    trap = pickle.dumps(Mark(mark))
    for name in (
        ".metadata",
        "__0_0.distcp",
        "pytorch_model.bin",
        "adapter_model.bin",
        "optimizer.pt",
        "rng_state.pth",
    ):
        (folder / name).write_bytes(trap)
    for name in (
        "modeling_llama.py",
        "configuration_llama.py",
        "tokenization.py",
        "custom_generate/generate.py",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    adapter = {
        "peft_type": "LORA",
        "base_model_name_or_path": "/nowhere",
        "megatron_core": "modeling_llama",
        "r": 4,
    }
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "transformers_weights": "pytorch_model.bin",
        "_attn_implementation": "eager",
        "attn_implementation": "eager",
        "_experts_implementation": "eager",
        "fusion_config": {"all": True},
        "distributed_config": {"tp_plan": "auto"},
        "base_model_tp_plan": {"*": "colwise"},
        "name_or_path": "owner/other",
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(
        '{"temperature": 0.5, "do_sample": true, "cache_implementation": "x"}'
    )
    return folder


def test_only_what_is_listed_is_read(hostile: Path, model: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from tunesmith_jobs.models.reading import load_model

    loaded = load_model(hostile, dtype=torch.float32)
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    assert not (tmp_path / "mark").exists()
    assert not hasattr(loaded, "peft_config"), "the adapter beside it is no part of it"
    for (name, mine), (other, theirs) in zip(
        loaded.state_dict().items(), plain.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(mine, theirs)
    assert loaded.config._attn_implementation == plain.config._attn_implementation == "sdpa"
    assert loaded.generation_config.temperature == 0.5
    assert loaded.generation_config.cache_implementation is None
    assert loaded.config.name_or_path == loaded.name_or_path == str(hostile)
    saved = loaded.config.to_diff_dict()
    assert (
        not {"transformers_weights", "fusion_config", "distributed_config", "base_model_tp_plan"}
        & saved.keys()
    )


def test_the_library_is_shown_nothing_else_and_told_every_choice(
    hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    from tunesmith_jobs.models import reading

    seen: dict[str, Any] = {}

    class Seen(Exception):
        pass

    def look(place: str, **options: Any) -> None:
        seen.update(
            options,
            names=sorted(path.name for path in Path(place).iterdir()),
            config=json.loads(Path(place, "config.json").read_text()),
        )
        raise Seen

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", look)
    with pytest.raises(Seen):
        reading.load_model(hostile)
    assert seen["names"] == ["config.json", "generation_config.json", "model.safetensors"]
    assert seen["trust_remote_code"] is seen["use_kernels"] is seen["allow_all_kernels"] is False
    assert seen["local_files_only"] is seen["use_safetensors"] is seen["weights_only"] is True
    assert seen["attn_implementation"] is seen["experts_implementation"] is None
    assert not [key for key in seen["config"] if "implementation" in key or "_plan" in key]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "generation_config.json"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_link_or_a_pipe_is_refused_by_its_name(tmp_path: Path, model: Path, name: str, kind: str) -> None:
    from tunesmith_jobs.models.reading import load_model

    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    (folder / name).rename(tmp_path / name)
    if kind == "link":
        (folder / name).symlink_to(tmp_path / name)
    else:
        os.mkfifo(folder / name)
    with pytest.raises(InvalidModel, match=name.replace(".", r"\.")):
        load_model(folder)


def test_a_tokenizer_that_is_a_link_is_not_passed_on(tmp_path: Path, model: Path) -> None:
    """A link put there after the look at submit would bring a file of another user's into the results."""
    from tunesmith_jobs.models.build import copy_tokenizer

    folder, target = tmp_path / "model", tmp_path / "target"
    shutil.copytree(model, folder)
    target.mkdir()
    (tmp_path / "secret").write_text("a secret")
    (folder / "vocab.json").symlink_to(tmp_path / "secret")
    copy_tokenizer(folder, target)
    assert (target / "tokenizer.json").exists()
    assert not (target / "vocab.json").exists()


def test_torchs_own_files_hold_numbers_or_are_not_read(tmp_path: Path) -> None:
    import random

    import numpy as np
    import torch

    from tunesmith_jobs.models.reading import read_torch

    states = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "cpu": torch.random.get_rng_state(),
    }
    torch.save(states, tmp_path / "rng_state.pth")
    back = read_torch(tmp_path / "rng_state.pth")
    assert back["python"] == states["python"]
    assert np.array_equal(back["numpy"][1], states["numpy"][1])
    torch.save({"x": Mark(tmp_path / "mark")}, tmp_path / "optimizer.pt")
    with pytest.raises(ValueError, match="more than numbers"):
        read_torch(tmp_path / "optimizer.pt")
    assert not (tmp_path / "mark").exists()


_POPULAR = (
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3_text",
    "phi3",
    "gpt2",
    "gpt_neox",
    "opt",
    "mixtral",
)


def _unchanged(kind: Any) -> None:
    from tunesmith.model_folder import readable_config

    said = json.loads(kind().to_json_string(use_diff=False))
    said |= {"model_type": kind.model_type}
    never = {"_name_or_path", "name_or_path"}
    left = {key for key in said if key not in readable_config(said)} - never
    assert not [key for key in left if said[key] not in (None, False, {}, [])], (kind.__name__, left)


@pytest.mark.parametrize("name", _POPULAR)
def test_no_popular_models_configuration_loses_anything(name: str) -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    _unchanged(CONFIG_MAPPING[name])


def architectures() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parents[2] / "infra" / "scripts" / "architectures.py"))


def test_the_lists_of_architectures_were_made_for_this_version_of_the_library() -> None:
    from tunesmith.model_folder import architectures as lists

    made = architectures()
    written = {name: set(getattr(lists, name)) for name in made["ABOUT"]}
    assert made["TARGET"].read_text() == made["page_of"](written), "run infra/scripts/architectures.py"


@pytest.mark.long
def test_the_lists_of_architectures_are_what_the_library_can_do() -> None:
    """Imports every causal model that the library knows."""
    made = architectures()
    assert made["TARGET"].read_text() == made["page"]()


def config_keys() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parents[2] / "infra" / "scripts" / "config_keys.py"))


def test_the_list_of_keys_was_made_for_this_version_of_the_library_and_not_changed_since() -> None:
    made = config_keys()
    assert made["TARGET"].read_text() == made["page_of"](CONFIG_KEYS), "run infra/scripts/config_keys.py"


@pytest.mark.long
def test_the_list_of_keys_is_what_the_library_declares() -> None:
    """Imports the configuration of every model that the library knows."""
    made = config_keys()
    assert made["TARGET"].read_text() == made["page"]()
