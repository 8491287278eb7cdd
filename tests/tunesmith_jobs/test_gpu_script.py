"""The script for GPU machines, on a CPU: what it checks holds here too, and its report has all its lines."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "infra" / "scripts" / "test_gpu.py"


@pytest.mark.slow
def test_the_gpu_script_runs_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    # `-P -s` and another folder: nothing but the script's own paths leads to our code.
    done = subprocess.run(
        [sys.executable, "-P", "-s", str(SCRIPT), "--cpu-smoke", "--out", str(out)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    results = {result["name"]: result for result in json.loads(out.read_text())["results"]}
    assert {name for name, result in results.items() if result["state"] == "ok"} == {
        "precision", "against fp32", "qlora", "packing", "resume", "machine",
    }  # fmt: skip
    speeds = {name for name in results if name.startswith("tiny ")}
    assert speeds == {"tiny LoRA", "tiny LoRA, recomputed", "tiny LoRA, packed", "tiny QLoRA"}
    for name in speeds:
        figures = results[name]["figures"]
        assert figures["tokens_per_second"] > 0
        assert 0 < figures["mfu_of_measured_ceiling"] < 1
        assert figures["peak_memory_bytes"] > 2**20
