"""A cluster of another version refuses an attempt in plain words, before anything of Ray is touched."""

import subprocess
import sys
from pathlib import Path

import pytest
from fake_plane import FakeControlPlane, make_document

import tunesmith
from tunesmith.errors import InvalidInput
from tunesmith_jobs.entry import refuse_another_version

SPEC = {"model_name_or_path": "m", "train_file": "t"}
MAJOR, MINOR, PATCH = tunesmith.__version__.split(".")[:3]


@pytest.mark.parametrize("platform", [tunesmith.__version__, f"{MAJOR}.{MINOR}.999", "", "of somebody"])
def test_one_of_the_same_minor_is_taken(platform: str) -> None:
    refuse_another_version(platform)


@pytest.mark.parametrize("platform", ["99.0.0", f"{MAJOR}.{int(MINOR) + 1}.0"])
def test_another_one_is_refused_with_both_named(platform: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        refuse_another_version(platform)
    assert platform in refused.value.message
    assert tunesmith.__version__ in refused.value.message
    assert "every node" in (refused.value.hint or "")


def test_the_task_ends_with_these_words(tmp_path: Path) -> None:
    """The real driver, with no Ray to go to: it does not come that far."""
    plane = FakeControlPlane()
    try:
        document = make_document(tmp_path, plane.url, tunesmith="99.0.0", spec=SPEC)
        (tmp_path / "job.json").write_text(document.model_dump_json())
        command = [sys.executable, "-m", "tunesmith_jobs.entry", str(tmp_path / "job.json")]
        ended = subprocess.run(
            command, cwd=tmp_path, check=False, timeout=120, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        (word,) = [event["payload"] for event in plane.events[1] if event["payload"]["kind"] == "finished"]
        assert word["outcome"] == "failed"
        assert f"The cluster has Tunesmith {tunesmith.__version__}, the platform 99.0.0." in word["message"]
    finally:
        plane.close()
