"""The proof of a GGUF file catches what was planted into it, on three architectures, and passes what is right."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import gguf_faults
import gguf_tokenizers
import numpy as np
import pytest

from tunesmith.gguf import FileType, write_gguf, write_lora_gguf
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.models.gguf_proof.prover import Prover, Subject

pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.usefixtures("one_thread")


ONLY = {
    "lost rope factors": ("llama",),
    "tied head written twice and different": ("llama",),
    "missing permutation": ("llama", "mistral"),
}
"""Which models have what a fault is about."""


class Proven:
    """A model of each architecture, merged with its adapter, and its file."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        import small_models
        import test_gguf
        import torch
        from transformers import AutoModelForCausalLM

        more = {"rope_parameters": test_gguf.LLAMA3, "tie_word_embeddings": True} if kind == "llama" else {}
        words = gguf_tokenizers.make_folder("llama 2", folder / "words") if kind == "mistral" else None
        if words is not None:
            more |= {"vocab_size": words.get_vocab_size(), "eos_token_id": words.token_to_id("<|im_end|>")}
        self.base = small_models.model_of(kind, folder / "model", **more)
        if words is not None:
            shutil.copy(folder / "words" / "tokenizer.json", self.base / "tokenizer.json")
        model = AutoModelForCausalLM.from_pretrained(self.base, dtype=torch.float32)
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(1)
            for name, parameter in model.named_parameters():
                if "norm" in name:
                    parameter.add_(torch.randn_like(parameter), alpha=0.3)
        model.save_pretrained(self.base)
        settings = self.base / "generation_config.json"
        said = json.loads(settings.read_text())
        settings.write_text(json.dumps(said | {"eos_token_id": [model.config.eos_token_id, 50, 51]}))
        self.adapter = test_gguf.make_adapter(
            self.base,
            folder / "adapter",
            r=8,
            lora_alpha=16,
            target_modules=["q_proj", "down_proj"],
            use_rslora=True,
        )
        spec = TrainSpec.read({"model_name_or_path": str(self.base), "train_file": "-"})
        self.prover = Prover(Subject(self.base, self.adapter, self.base, None, spec, is_chat=True), folder)
        self.prover.prepare()
        self.files = {
            kind: write_gguf(self.base, folder / f"{kind}.gguf", kind, adapter=self.adapter).path
            for kind in (FileType.F16, FileType.Q8_0)
        }


@pytest.fixture(scope="module", params=["llama", pytest.param("qwen3", marks=pytest.mark.long), "mistral"])
def proven(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Proven:
    return Proven(request.param, tmp_path_factory.mktemp("proven"))


def test_what_nothing_was_done_to_passes(proven: Proven) -> None:
    for kind, file in proven.files.items():
        assert proven.prover.prove(file, kind).verdict == "proven", kind


@pytest.mark.parametrize("fault", gguf_faults.CHANGES)
def test_a_planted_fault_is_caught(proven: Proven, fault: str, tmp_path: Path) -> None:
    change: Callable[..., None] = gguf_faults.CHANGES[fault]
    kind = FileType.F16 if fault == "missing permutation" else FileType.Q8_0
    if proven.kind not in ONLY.get(fault, (proven.kind,)):
        pytest.skip("this model has no such thing")
    broken = gguf_faults.rewritten(proven.files[kind], tmp_path / "broken.gguf", change)
    found = proven.prover.prove(broken, kind)
    assert found.verdict == "failed", found
    for check in found.checks:
        assert re.search(r"[\u4e00-\u9fff]", check.words_zh), check
    for check in found.failed():
        assert check.words_zh in found.sentence["zh"]
        assert check.words not in found.sentence["zh"]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=() if place < 4 else pytest.mark.long)
        for place, fault in enumerate(gguf_faults.UNSEEN)
    ],
)
def test_a_fault_that_no_text_shows_is_caught(proven: Proven, fault: str, tmp_path: Path) -> None:
    change = gguf_faults.UNSEEN[fault]
    broken = gguf_faults.rewritten(proven.files[FileType.Q8_0], tmp_path / "broken.gguf", change)
    found = proven.prover.prove(broken, FileType.Q8_0)
    assert found.verdict == "failed", found
    for check in found.failed():
        assert re.search(r"[\u4e00-\u9fff]", check.words_zh), check


def test_an_adapters_file_that_adds_something_else_is_caught(proven: Proven, tmp_path: Path) -> None:
    """Of a training of few steps, where the next token hardly shows it."""
    from safetensors.numpy import load_file, save_file

    weak = Path(shutil.copytree(proven.adapter, tmp_path / "weak"))
    weights = weak / "adapter_model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensor * np.float32(0.02) for name, tensor in tensors.items()}, weights)
    base = write_gguf(proven.base, tmp_path / "base.gguf", FileType.F16).path
    file = write_lora_gguf(weak, proven.base, tmp_path / "lora.gguf", FileType.F32).path
    spec = TrainSpec.read({"model_name_or_path": str(proven.base), "train_file": "-"})
    prover = Prover(Subject(proven.base, weak, proven.base, None, spec, is_chat=True), tmp_path)

    def twice(fields: gguf_faults.Fields, tensors: gguf_faults.Tensors) -> None:
        fields["adapter.lora.alpha"] *= 2

    def swapped(fields: gguf_faults.Fields, tensors: gguf_faults.Tensors) -> None:
        one, other = (f"blk.{layer}.attn_q.weight.lora_b" for layer in (0, 1))
        tensors[one], tensors[other] = tensors[other], tensors[one]

    for change in (None, twice, swapped):
        made = file if change is None else gguf_faults.rewritten(file, tmp_path / "broken.gguf", change)
        found = prover.prove(base, FileType.F16, made)
        assert found.difference is not None
        assert found.difference.kl_mean < 1e-3, "the next token does not show it"
        assert [check.name for check in found.failed()] == ([] if change is None else ["adapter"]), change


@pytest.mark.parametrize("fault", ["truncated", "another checkpoint", "wrong scale", "merged in 4 bits"])
def test_a_file_of_other_weights_is_caught(proven: Proven, fault: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.gguf"
    if fault == "truncated":
        file.write_bytes(proven.files[FileType.Q8_0].read_bytes()[:-5000])
    else:
        adapter = tmp_path / "adapter"
        adapter.mkdir()
        for part in proven.adapter.iterdir():
            (adapter / part.name).write_bytes(part.read_bytes())
        if fault == "wrong scale":
            config = json.loads((adapter / "adapter_config.json").read_text())
            (adapter / "adapter_config.json").write_text(json.dumps(config | {"use_rslora": False}))
        else:
            _nudge(adapter / "adapter_model.safetensors", coarse=fault == "merged in 4 bits")
        write_gguf(proven.base, file, FileType.Q8_0, adapter=adapter)
    assert proven.prover.prove(file, FileType.Q8_0).verdict == "failed"


def _nudge(weights: Path, *, coarse: bool) -> None:
    """An adapter as a step later, or as four bits hold it."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(weights)
    drawn = np.random.default_rng(3)
    for name, tensor in tensors.items():
        step = np.abs(tensor).max() / 7
        noise = drawn.normal(size=tensor.shape).astype(np.float32) * np.abs(tensor).mean() * 0.02
        tensors[name] = (
            (np.round(tensor / step) * step).astype(np.float32) if coarse and step else tensor + noise
        )
    save_file(tensors, weights)
