"""A release has one version and says what changed; made whole, it installs where nothing of the repository is."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from built_studio import build_studio

ROOT = Path(__file__).resolve().parents[2]
_SCRIPT = ROOT / "infra" / "scripts" / "release.py"


def _release() -> Any:
    spec = importlib.util.spec_from_file_location("release", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_place_says_one_version() -> None:
    found = _release().versions()
    assert len(found) >= 3
    assert len(set(found.values())) == 1, found


def test_the_notes_are_the_section_of_the_version() -> None:
    text = "# Changelog\n\n## Unreleased\n\n- new\n\n## 0.10.0 (2026-11-30)\n\n- ten\n- more\n\n## 0.1.0\n\n- one\n"
    notes = _release().notes_of
    assert notes(text, "0.1.0") == "- one"
    assert notes(text, "0.10.0") == "- ten\n- more"
    assert notes(text, "Unreleased") == "- new"
    assert notes(text, "0.2.0") == ""


@pytest.mark.slow
@pytest.mark.long
def test_a_draft_is_made_and_works_in_a_clean_environment(tmp_path: Path) -> None:
    build_studio()  # a wheel carries it
    command = [sys.executable, str(_SCRIPT), "--draft", "--to", str(tmp_path / "dist")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    made = {path.name.partition("-")[0] for path in (tmp_path / "dist").iterdir()}
    assert made == {"tunesmith", "images", "NOTES.md"}
    assert list((tmp_path / "dist").glob("*.tgz"))
    assert list((tmp_path / "dist" / "images").glob("*.whl"))
