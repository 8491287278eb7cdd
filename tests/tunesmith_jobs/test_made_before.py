"""The same inputs return the file that was made before: with its proof, and never one whose bytes changed."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from test_package import folder_of, packaged
from trained import Trained

from tunesmith.model_step import MadeBefore
from tunesmith_jobs.models.gguf_proof.proof import Proof
from tunesmith_jobs.package import gguf_files

pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.usefixtures("one_thread")
GIVEN = {"preset": "merge_and_quantize", "quant_types": ["Q8_0", "F16"]}


class Earlier:
    """A package that was made, brought aside as another task's."""

    def __init__(self, lora: Trained, folder: Path) -> None:
        outcome, self.made, _ = packaged(lora, **GIVEN)
        self.folder = folder
        shutil.copytree(folder_of(outcome), folder)

    @property
    def files(self) -> list[MadeBefore]:
        return [
            MadeBefore(key=one.key, task_id="task-1", uri=str(self.folder), name=one.name, sha256=one.sha256)
            for one in self.made.files
        ]


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Trained:
    return Trained(tmp_path_factory.mktemp("before") / "run", model, target_modules=["q_proj", "down_proj"])


@pytest.fixture
def earlier(lora: Trained, tmp_path: Path) -> Earlier:
    return Earlier(lora, tmp_path / "earlier")


def test_the_same_inputs_cost_a_link(
    lora: Trained, earlier: Earlier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is written, and nothing proven")

    monkeypatch.setattr(gguf_files, "write_gguf", nobody)
    monkeypatch.setattr(gguf_files, "Prover", nobody)
    outcome, made, _ = packaged(lora, **GIVEN, model_name="other", made_before=earlier.files)
    folder = folder_of(outcome)
    assert [one.name for one in made.files] == ["other-4-Q8_0.gguf", "other-4-F16.gguf"]
    for one, before in zip(made.files, earlier.made.files, strict=True):
        assert (one.taken_from, one.sha256, one.key) == ("task-1", before.sha256, before.key)
        assert (folder / one.name).samefile(earlier.folder / before.name), "a hard link, no second copy"
        proof = Proof.model_validate_json((folder / f"{one.name}.proof.json").read_bytes())
        assert (proof.file, proof.verdict) == (one.name, "proven")
        assert one.name in proof.sentence["en"]
        assert before.name not in proof.sentence["en"]


def test_a_file_whose_bytes_changed_is_made_anew(lora: Trained, earlier: Earlier) -> None:
    for number, one in enumerate(earlier.made.files):
        file = earlier.folder / one.name
        whole = bytearray(file.read_bytes())
        whole[-1] ^= 1
        file.unlink()
        if number == 0:
            file.write_bytes(whole)  # of the same size; the other one is gone
    outcome, made, _ = packaged(lora, **GIVEN, made_before=earlier.files)
    folder_of(outcome)
    assert [one.taken_from for one in made.files] == [None, None]
    assert [one.sha256 for one in made.files] == [one.sha256 for one in earlier.made.files]


def test_other_inputs_are_other_files(lora: Trained, earlier: Earlier, model: Path, tmp_path: Path) -> None:
    keys = {one.type: one.key for one in earlier.made.files}
    assert len(set(keys.values())) == 2
    other = Trained(tmp_path / "other", model, target_modules=["q_proj", "down_proj"], seed=9)
    for trained, given in (
        (other, GIVEN),
        (lora, GIVEN | {"preset": "quantize_base"}),
    ):
        _, made, _ = packaged(trained, **given, made_before=earlier.files)
        assert [one.taken_from for one in made.files] == [None, None], given
    matrix = GIVEN | {"quant_types": ["Q4_0", "F16"]}
    _, plain, _ = packaged(lora, **matrix)
    _, rounded, _ = packaged(lora, **matrix, importance_matrix="training", made_before=earlier.files)
    assert plain.files[0].key != rounded.files[0].key
    assert rounded.files[1].taken_from == "task-1", "what a matrix does not change is the same"
