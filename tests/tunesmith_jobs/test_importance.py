"""Importance matrices: what is summed of which tokens, what is kept, and that files are better by them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_package import folder_of, packaged
from trained import Trained

from tunesmith.gguf import read_importance
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.batches.token_cache import TokenCache
from tunesmith_jobs.failures import is_out_of_memory
from tunesmith_jobs.package import importance
from tunesmith_jobs.package.importance import Asked, importance_of, pieces_of

pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Trained:
    folder = tmp_path_factory.mktemp("importance") / "run"
    return Trained(folder, model, target_modules=["q_proj", "v_proj", "down_proj"])


def asked_of(lora: Trained, **given: Any) -> Asked:
    spec = TrainSpec.read(
        {"model_name_or_path": str(lora.base), "train_file": str(lora.held_out), "use_lora": True}
    )
    found = Asked(
        lora.base, Path(str(lora.outcome.model_uri)), spec, lora.base, None, lora.held_out, 200, ("rows",)
    )
    return found._replace(**given)


def test_the_sums_are_those_of_the_merged_model(lora: Trained, tmp_path: Path) -> None:
    """Beside its base an adapter gives every layer the same numbers as merged into it."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    asked = asked_of(lora)
    found = importance_of(asked, tmp_path / "kept")
    whole = AutoModelForCausalLM.from_pretrained(asked.base, dtype=torch.float32)
    whole = PeftModel.from_pretrained(whole, asked.adapter).merge_and_unload().eval()
    sums: dict[str, Any] = {}
    for path, layer in whole.named_modules():
        if isinstance(layer, torch.nn.Linear) and path != "lm_head":
            layer.register_forward_pre_hook(
                lambda _, given, path=path: sums.__setitem__(
                    path, sums.get(path, 0) + given[0][0].double().square().sum(0)
                )
            )
    pieces = pieces_of(asked, TokenCache(None), lambda done, of: None)
    with torch.inference_mode():
        for piece in pieces:
            whole(torch.from_numpy(piece)[None])
    names = {"q_proj": "attn_q", "o_proj": "attn_output", "down_proj": "ffn_down", "gate_proj": "ffn_gate"}
    for layer in range(whole.config.num_hidden_layers):
        for theirs, ours in names.items():
            (path,) = [one for one in sums if f".{layer}." in one and one.endswith(theirs)]
            made = found.importance.sums[f"blk.{layer}.{ours}.weight"]
            assert np.allclose(made, sums[path].numpy(), rtol=1e-4), path
    assert len(found.importance.sums) == len(sums)
    assert set(found.importance.counts.values()) == {sum(map(len, pieces))} == {found.tokens}


def test_so_many_tokens_and_no_more_each_row_by_itself(lora: Trained) -> None:
    def pieces(tokens: int) -> list[list[int]]:
        made = pieces_of(asked_of(lora, tokens=tokens), TokenCache(None), lambda done, of: None)
        return [piece.tolist() for piece in made]

    assert sum(map(len, pieces(100))) == 100
    every = pieces(10**6)
    assert len(every) == 9, "each row once"
    assert pieces(100)[0] == every[0], "more tokens begin with the same"


def test_a_long_row_is_cut_into_pieces(lora: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "CHUNK", 8)
    cut = pieces_of(asked_of(lora, tokens=10**6), TokenCache(None), lambda done, of: None)
    assert max(map(len, cut)) == 8
    monkeypatch.undo()
    whole = pieces_of(asked_of(lora, tokens=10**6), TokenCache(None), lambda done, of: None)
    assert np.concatenate(cut).tolist() == np.concatenate(whole).tolist()


def test_rows_of_mere_text_are_texts(lora: Trained, tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text(json.dumps({"text": "The capital of France is Paris."}) + "\n")
    made = pieces_of(asked_of(lora, rows=file), TokenCache(None), lambda done, of: None)
    assert len(made) == 1
    assert len(made[0]) > 3


def test_it_is_kept_by_what_it_was_computed_of(lora: Trained, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    first = importance_of(asked_of(lora), kept)
    again = importance_of(asked_of(lora), kept)
    assert (first.was_kept, again.was_kept) == (False, True)
    assert again.file == first.file
    for other in ({"tokens": 100}, {"adapter": None}, {"sources": ("others",)}):
        assert not importance_of(asked_of(lora, **other), kept).was_kept, other
    first.file.write_bytes(first.file.read_bytes()[:-500])
    anew = importance_of(asked_of(lora), kept)
    assert not anew.was_kept, "one that is damaged is computed anew"
    assert read_importance(anew.file).counts == first.importance.counts


def test_memory_that_holds_no_model_is_said(
    lora: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importance, "spare_memory", lambda: 1000)
    with pytest.raises(MemoryError, match="in 16 bits") as error:
        importance_of(asked_of(lora), tmp_path / "kept")
    assert is_out_of_memory(error.value)


@pytest.mark.slow
def test_a_package_has_the_matrix_of_its_files_beside_them(lora: Trained) -> None:
    types = ["IQ2_M", "Q4_K_M", "F16"]
    outcome, made, _ = packaged(lora, preset="merge_and_quantize", quant_types=types, importance_tokens=300)
    folder = folder_of(outcome)
    assert [one.verdict for one in made.files] == ["proven"] * 3
    said = made.importance
    assert (said.name, said.tokens, said.sources) == ("run-4-imatrix.gguf", 300, ["support@1"])
    assert said.name in {one.name for one in made.others}
    assert read_importance(folder / said.name).sources == ("support@1",)
    assert "computed over 300 tokens of support@1" in (folder / "README.md").read_text()
    # As another quantiser's of the same model, which knew nothing of the matrix: the proof compares with it.
    outcome, plain, _ = packaged(lora, preset="merge_and_quantize", quant_types=["Q4_K_M"])
    assert plain.importance is None
    assert plain.files[0].sha256 != made.files[1].sha256
