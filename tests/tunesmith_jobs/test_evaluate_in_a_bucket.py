"""Checkpoints that lie in a bucket, and a report that goes there: as from a folder."""

from pathlib import Path

import pytest
from compared import SAMPLES, Asked, Trained

from tunesmith.lifecycle import State
from tunesmith.removal import remove_stored
from tunesmith.storage import open_storage


def test_checkpoints_in_a_bucket_are_compared_as_those_in_a_folder(
    tmp_path: Path, model: Path, s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trained").mkdir()
    trained = Trained(tmp_path / "trained", model)
    here = Asked(tmp_path / "here", trained, monkeypatch)
    assert here.run().outcome is State.COMPLETED
    location = f"{s3_uri}/{tmp_path.name}"
    open_storage(location).put_folder(Path(trained.artifacts), "trained")
    trained.artifacts = f"{location}/trained"
    there = Asked(tmp_path / "there", trained, monkeypatch)
    there.artifacts = f"{location}/report"
    outcome = there.run()
    assert outcome.outcome is State.COMPLETED, outcome
    assert f"{location}/report/evaluation" in outcome.message
    found = {
        name: [(one.candidate.key, one.means, one.answers) for one in asked.result.candidates]
        for name, asked in (("here", here), ("there", there))
    }
    assert found["here"] == found["there"]
    for name in ("report-en.html", "report-zh.html", "answers.csv", "candidates.csv"):
        assert open_storage(there.artifacts).read(f"evaluation/{name}"), name
    # The answers of before are known, wherever the weights are read from: nothing is asked again.
    again = Asked(tmp_path / "there", trained, monkeypatch)
    again.artifacts = there.artifacts
    assert again.run(attempt=2).outcome is State.COMPLETED
    assert again.generated == 0
    # One that its training has removed there costs itself alone.
    remove_stored(open_storage(f"{location}/trained/checkpoints"), "checkpoint-4", "task-1")
    there.write([*SAMPLES, ("What is new?", "This one.")])
    assert there.run(attempt=3).outcome is State.COMPLETED
    assert [one.candidate.step for one in there.result.candidates] == [0, 8]
    assert "checkpoint_removed" in there.warned()
