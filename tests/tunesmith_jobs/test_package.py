"""Packaging a trained model as GGUF files: written, proven in real llama.cpp, stored; what is no model is no result."""

import copy
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import gguf_faults
import numpy as np
import pytest
import torch
from peft import PeftModel
from trained import Trained
from transformers import AutoModelForCausalLM

from tunesmith.artifacts import faults_of, sha256_of
from tunesmith.gguf import FileType, split
from tunesmith.lifecycle import Reason
from tunesmith.outcome import Outcome
from tunesmith_jobs.models.gguf_proof import checks
from tunesmith_jobs.models.gguf_proof import prover as proving
from tunesmith_jobs.models.gguf_proof.proof import Difference, Proof
from tunesmith_jobs.package import files, source

pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Trained:
    folder = tmp_path_factory.mktemp("package") / "run"
    return Trained(folder, model, use_rslora=True, target_modules=["q_proj", "v_proj", "down_proj"])


def packaged(trained: Trained, **given: Any) -> tuple[Outcome, Any, list[Any]]:
    """Package; the outcome, what was made, and what was warned of."""
    outcome, ear, _ = trained.use("package", **given)
    made = [payload for payload in ear.heard if payload.kind == "package_made"]
    return outcome, made[0] if made else None, [one for one in ear.heard if one.kind == "warning"]


def folder_of(outcome: Outcome) -> Path:
    assert outcome.reason is Reason.COMPLETED, outcome
    return Path(str(outcome.model_uri))


@pytest.mark.slow
def test_an_adapter_becomes_files_that_are_proven(lora: Trained, tmp_path: Path) -> None:
    outcome, made, warned = packaged(
        lora,
        preset="merge_and_quantize",
        quant_types=["Q4_K_M", "Q8_0", "F16"],
        output_dir=str(tmp_path / "out"),
    )
    folder = folder_of(outcome)
    assert (folder.name, faults_of(folder)) == ("package", [])
    names = ["run-4-Q4_K_M.gguf", "run-4-Q8_0.gguf", "run-4-F16.gguf"]
    assert [one.name for one in made.files] == names
    assert [one.verdict for one in made.files] == ["proven"] * 3
    listed = {file["path"]: file for file in json.loads((folder / "manifest.json").read_text())["files"]}
    for one in made.files:
        assert (listed[one.name]["sha256"], listed[one.name]["bytes"]) == (one.sha256, one.bytes)
        proof = Proof.model_validate_json((folder / f"{one.name}.proof.json").read_bytes())
        assert proof.sentence == one.sentence
        assert {check.name for check in proof.checks} == {
            "reads", "ids", "conversations", "ends", "context", "finite", "sizes", "words", "weights", "turning", "kl",
            "top1", "greedy",
        }  # fmt: skip
        assert f"FROM ./{one.name}" in (folder / f"{one.name}.Modelfile").read_text()
        assert one.name in (folder / "README.md").read_text()
    assert made.files[2].kl_mean < 1e-4 > 0
    assert made.files[0].fallbacks, "rows of 64 do not divide into blocks of 256"
    assert {one.code for one in warned} == {"fallback_types"}
    for file in folder.iterdir():
        assert str(lora.base).encode() not in file.read_bytes(), file.name


@pytest.mark.slow
def test_the_base_and_its_adapter_apart(lora: Trained) -> None:
    outcome, made, _ = packaged(
        lora, preset="custom", merge_lora=False, export_lora_gguf=True, quant_types=["F16"]
    )
    folder = folder_of(outcome)
    assert [(one.name, one.verdict) for one in made.files] == [
        ("run-base-F16.gguf", "proven"),
        ("checkpoint-4-lora.gguf", "proven"),
    ]
    assert "--lora" in (folder / "checkpoint-4-lora.gguf.md").read_text()
    assert not list(folder.glob("*.Modelfile")), "Ollama takes no adapters"
    alone, made, _ = packaged(lora, preset="lora_only")
    assert [one.name for one in made.files] == ["checkpoint-4-lora.gguf"]
    assert not list(folder_of(alone).glob("*base*"))


@pytest.mark.slow
def test_files_of_a_size_and_the_adapter_as_one(
    lora: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp is asked by the first of a split; the zip's own README loads the adapter elsewhere."""
    monkeypatch.setitem(split._UNITS, "M", 100_000)  # the model has a quarter of a million bytes
    outcome, made, _ = packaged(
        lora, preset="merge_only", split_size="1M", export_adapter_zip=True, output_dir=str(tmp_path / "out")
    )
    folder = folder_of(outcome)
    (one,) = made.files
    listed = {file["path"]: file for file in json.loads((folder / "manifest.json").read_text())["files"]}
    assert one.verdict == "proven"
    assert len(one.parts) > 1
    assert [part.name for part in one.parts] == sorted(folder_.name for folder_ in folder.glob("*.gguf"))
    assert (one.name, one.sha256) == (one.parts[0].name, one.parts[0].sha256)
    assert one.bytes == sum(part.bytes for part in one.parts)
    said = {part.name: (part.bytes, part.sha256) for part in (*one.parts, *made.others)}
    assert said == {name: (file["bytes"], file["sha256"]) for name, file in listed.items()}
    assert f"llama-server -m {one.name}" in (folder / "run-4.gguf.md").read_text()
    assert not list(folder.glob("*.Modelfile")), "Ollama takes none that is split"
    again, _, _ = packaged(lora, preset="lora_only", export_adapter_zip=True)
    packed = folder_of(again) / "checkpoint-4-adapter.zip"
    assert sha256_of(packed) == said["checkpoint-4-adapter.zip"][1], "the same adapter is the same bytes"

    elsewhere = tmp_path / "elsewhere"
    with zipfile.ZipFile(packed) as opened:
        opened.extractall(elsewhere)
    readme = (elsewhere / "README.md").read_text()
    assert str(lora.base) not in "".join(file.read_text() for file in elsewhere.glob("*[dn]"))
    (elsewhere / lora.base.name).symlink_to(lora.base)
    monkeypatch.chdir(elsewhere)
    found: dict[str, Any] = {}
    exec(readme.split("```python\n")[1].split("```")[0], found)
    text = found["tokenizer"]("What is Ember?", return_tensors="pt")
    here = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(lora.base), str(lora.outcome.model_uri)
    )
    with torch.no_grad():
        assert torch.equal(found["model"](**text).logits, here(**text).logits)


def test_a_package_carries_what_the_license_of_its_base_asks(lora: Trained, tmp_path: Path) -> None:
    other = copy.copy(lora)
    other.base = tmp_path / "base"
    shutil.copytree(lora.base, other.base)
    (other.base / "LICENSE.txt").write_text("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\nrest\n")
    (other.base / "USE_POLICY.md").write_text("uses\n")
    outcome, _, _ = packaged(other, preset="merge_only", model_name="Llama-mine")
    folder = folder_of(outcome)
    assert (folder / "LICENSE.txt").read_text().startswith("LLAMA 3.1")
    assert (folder / "USE_POLICY.md").is_file()
    assert (folder / "Llama-mine-4.gguf").is_file()
    card = (folder / "README.md").read_text()
    assert card.count("# Llama-mine\n") == 1
    for line in ("\nBuilt with Llama\n", "Llama 3.1 is licensed under the Llama 3.1 Community License"):
        assert line in card


def test_what_there_is_no_room_for_is_refused_with_the_numbers(
    lora: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 1000})())
    outcome, made, _ = packaged(lora, preset="merge_only")
    assert (outcome.reason, made) == (Reason.DISK_FULL, None)
    assert "0.00 GB left" in outcome.message


def test_a_file_that_knows_nothing_passes_as_no_type() -> None:
    """What says the same at every token is 3.8 nats from SmolLM2; rounding leaves more of a model than that."""
    apart = Difference(kl_mean=3.8, kl_p99=9.0, kl_back_mean=3.8, top1=0.1, tokens=800)
    for kind in FileType:
        for has_experts in (False, True):
            assert not checks.check_difference(kind, apart, has_experts=has_experts).passed, kind


def test_memory_that_does_not_hold_the_model_is_said(lora: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "spare_memory", lambda: 1000)
    outcome, made, warned = packaged(lora, preset="merge_only")
    folder_of(outcome)
    (one,) = made.files
    assert (one.verdict, one.kl_mean) == ("not_proven", None)
    assert "needs 0.5 GB" in one.sentence["en"]
    assert "not_proven" in {warning.code for warning in warned}


def test_a_file_that_is_not_the_model_is_kept_apart(lora: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two files one is changed behind its writing: the other is the result."""
    written = source.write_gguf

    def write(folder: Any, target: Path, file_type: FileType, *given: Any, **more: Any) -> Any:
        done = written(folder, target, file_type, *given, **more)
        if file_type is FileType.F16:
            other = gguf_faults.rewritten(target, target.with_name("other"), gguf_faults.swapped)
            other.replace(target)
        return done

    monkeypatch.setattr(source, "write_gguf", write)
    outcome, made, warned = packaged(lora, preset="merge_and_quantize", quant_types=["Q8_0", "F16"])
    folder = folder_of(outcome)
    assert [one.verdict for one in made.files] == ["proven", "failed"]
    assert (folder / "failed" / "run-4-F16.gguf.failed").is_file()
    assert not (folder / "run-4-F16.gguf").exists()
    assert "not_the_model" in {one.code for one in warned}
    outcome, made, _ = packaged(lora, preset="merge_only")
    assert (outcome.reason, made) == (Reason.BAD_MODEL, None)
    assert "not the model's" in outcome.message


@pytest.mark.parametrize(
    "spec",
    [
        {"use_dora": True},
        {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    ],
    ids=str,
)
def test_an_adapter_that_is_more_than_pairs_is_merged_first(
    spec: dict[str, Any], model: Path, tmp_path: Path
) -> None:
    trained = Trained(tmp_path / "run", model, **spec)
    outcome, made, warned = packaged(trained, preset="merge_and_quantize", quant_types=["F16", "Q8_0"])
    assert outcome.reason is Reason.COMPLETED, outcome
    assert [one.verdict for one in made.files] == ["proven", "proven"], made
    assert "merged_first" in {one.code for one in warned}
    outcome, made, _ = packaged(trained, preset="lora_only")
    assert (outcome.reason, made) == (Reason.BAD_PARAMETERS, None)
    assert "merge" in outcome.message.lower()


def test_a_whole_model_and_its_words(model: Path, tmp_path: Path) -> None:
    trained = Trained(tmp_path / "run", model, use_lora=False)
    outcome, made, _ = packaged(trained, preset="merge_only")
    assert outcome.reason is Reason.COMPLETED, outcome
    assert [(one.name, one.verdict) for one in made.files] == [("run-4.gguf", "proven")]
    outcome, _, _ = packaged(trained, preset="lora_only")
    assert "no LoRA" in outcome.message


@pytest.mark.parametrize(
    ("broken", "reason", "words"),
    [
        ("a NaN in the base", Reason.BAD_PARAMETERS, "`model.layers.1.mlp.up_proj.weight`"),
        ("a truncated base", Reason.BAD_MODEL, "base/model.safetensors`"),
        ("another base", Reason.BAD_PARAMETERS, "does not fit"),
        ("no tokenizer", Reason.BAD_MODEL, "base/tokenizer.json`"),
    ],
)
def test_what_is_broken_is_refused_by_its_name(
    lora: Trained, broken: str, reason: Reason, words: str, tmp_path: Path
) -> None:
    import small_models
    from safetensors.numpy import load_file, save_file

    other = copy.copy(lora)
    other.base = base = tmp_path / "base"
    if broken == "another base":
        small_models.model_of("llama", base, hidden_size=96)
    else:
        shutil.copytree(lora.base, base)
    weights = base / "model.safetensors"
    if broken == "a NaN in the base":
        tensors = load_file(weights)
        tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = np.nan
        save_file(tensors, weights)
    elif broken == "a truncated base":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif broken == "no tokenizer":
        (base / "tokenizer.json").unlink()
    outcome, made, _ = packaged(other, preset="merge_and_quantize", quant_types=["Q8_0"])
    assert (outcome.reason, made) == (reason, None), outcome
    assert words in outcome.message
    place = lora.folder / "packaged" / "package"
    assert not place.exists() or faults_of(place) == []
