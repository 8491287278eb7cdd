"""The reference pages say what the code says."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "infra" / "scripts" / "reference.py"


def reference(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *args], capture_output=True, text=True, check=False)


def test_the_pages_in_the_repository_are_fresh() -> None:
    checked = reference("--check")
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("spoil", ["change", "remove", "add"])
def test_a_stale_page_is_found_and_mended(tmp_path: Path, spoil: str) -> None:
    assert reference("--folder", str(tmp_path)).returncode == 0
    page = tmp_path / ("forgotten.md" if spoil == "add" else "lifecycle.md")
    if spoil == "remove":
        page.unlink()
    else:
        page.write_text("other")
    checked = reference("--check", "--folder", str(tmp_path))
    assert checked.returncode == 1
    assert page.name in checked.stderr
    assert reference("--folder", str(tmp_path)).returncode == 0
    assert reference("--check", "--folder", str(tmp_path)).returncode == 0
