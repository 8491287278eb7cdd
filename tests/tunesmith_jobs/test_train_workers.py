"""Two workers on CPUs, without Ray: DDP and each ZeRO stage give the curve of one worker alone."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import forked
import pytest
import training_run as tr

from tunesmith.artifacts import FINAL_MODEL
from tunesmith.availability import is_installed
from tunesmith.lifecycle import State

pytestmark = pytest.mark.slow
BESIDE = Path(sys.prefix) / "deepspeed"
"""Where `make test-deepspeed` puts DeepSpeed: in the environment itself, every process that trains would import it."""
needs_deepspeed = pytest.mark.skipif(
    not (is_installed("deepspeed") or BESIDE.is_dir()) or not shutil.which("c++"),
    reason="DeepSpeed is not installed, or there is no C++ compiler: it compiles how CPU workers talk",
)

GIVEN: dict[str, Any] = {
    "use_lora": False,
    "precision": "fp32",
    "learning_rate": 1e-3,
    "lora_dropout": 0.0,
    "num_workers": "1:2",
    "gradient_accumulation_steps": 2,
    "max_steps": 6,
    "save_steps": 3,
    "eval_strategy": "steps",
    "eval_steps": 3,
    "eval_sampling_ratio": 0.2,
}


def run_workers(folder: Path, model: Path, workers: int, ends: State = State.COMPLETED, **more: Any) -> None:
    """Train in as many processes; rank 0's events lie in `folder`, the others' in folders of their own."""
    folder.mkdir(exist_ok=True)
    rows = tr.write_rows(folder / "train.jsonl", 25)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(BESIDE), os.environ.get("PYTHONPATH")])),
        "PATH": os.pathsep.join([str(BESIDE / "bin"), os.environ["PATH"]]),  # ninja
    }
    with_deepspeed = found if "deepspeed_stage" in more and BESIDE.is_dir() else {}
    processes = []
    for rank in range(workers):
        given = GIVEN | {"folder": str(folder), "model": str(model), "rows": str(rows), "rank": rank} | more
        place = {} if workers == 1 else {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(workers),
            "LOCAL_WORLD_SIZE": str(workers), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }  # fmt: skip
        files = folder / f"said-{rank}", folder / f"errors-{rank}"
        processes.append(
            _Program(given, *files, place | with_deepspeed)
            if with_deepspeed
            else forked.start(tr.main, given, said=files[0], errors=files[1], **place)
        )
    try:
        for rank, process in enumerate(processes):
            code = forked.wait(process, 200)
            said, errors = (
                (folder / f"said-{rank}").read_text(),
                (folder / f"errors-{rank}").read_text()[-3000:],
            )
            assert code == 0, errors
            outcome = json.loads(said.strip().splitlines()[-1])
            assert outcome["outcome"] == ends, (outcome, errors)
    finally:
        for process in processes:
            process.kill()


class _Program:
    """A program as `forked` has its processes. What looks for DeepSpeed as it is imported is started anew."""

    def __init__(self, given: dict[str, Any], said: Path, errors: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, tr.__file__, json.dumps(given)],
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            stdout=said.open("wb"),
            stderr=errors.open("wb"),
        )
        self.exitcode: int | None = None
        self.kill = self._process.kill

    def join(self, seconds: float | None = None) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.exitcode = self._process.wait(seconds)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    run_workers(folder, model, 1)
    return folder


def assert_same_curve(folder: Path, alone: Path) -> None:
    for name in ("loss", "eval_loss", "supervised_tokens", "grad_norm"):
        assert tr.losses(folder, name=name) == pytest.approx(tr.losses(alone, name=name), rel=1e-4), name


def final_weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "artifacts" / FINAL_MODEL / "model.safetensors")


def test_two_workers_train_as_one(tmp_path: Path, model: Path, alone: Path) -> None:
    run_workers(tmp_path, model, 2)
    assert tr.facts(alone)["engine"] == "alone"
    assert tr.facts(tmp_path)["engine"] == "ddp"
    assert_same_curve(tmp_path, alone)


def test_a_worker_that_cannot_save_its_part_keeps_no_other_waiting(tmp_path: Path, model: Path) -> None:
    """All end at that save, with its reason: none waits for a message that does not come."""
    run_workers(tmp_path, model, 2, State.FAILED, full_rank=1)
    said = [json.loads((tmp_path / f"said-{rank}").read_text().splitlines()[-1]) for rank in (0, 1)]
    assert [outcome["reason"] for outcome in said] == ["storage", "disk_full"]
    assert "another worker" in said[0]["message"]
    assert not tr.saved(tmp_path)


@needs_deepspeed
@pytest.mark.parametrize(
    ("stage", "offload"),
    [(1, "none"), (2, "optimizer_cpu"), (3, "optimizer_and_param_cpu")],
)
def test_zero_trains_as_one_and_leaves_whole_weights(
    tmp_path: Path, model: Path, alone: Path, stage: int, offload: str
) -> None:
    import torch

    run_workers(tmp_path, model, 2, deepspeed_stage=stage, deepspeed_offload=offload)
    assert tr.facts(tmp_path)["engine"] == f"zero{stage}"
    assert_same_curve(tmp_path, alone)
    assert not list((tmp_path / "artifacts").rglob("*.py"))
    ours, theirs = final_weights(tmp_path), final_weights(alone)
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in ours)


@needs_deepspeed
@pytest.mark.parametrize("stage", [2, 3])
def test_zero_goes_on_from_its_checkpoint(tmp_path: Path, model: Path, alone: Path, stage: int) -> None:
    run_workers(tmp_path, model, 2, State.STOPPED, deepspeed_stage=stage, term_at=3)
    run_workers(tmp_path, model, 2, deepspeed_stage=stage, attempt=2)
    assert min(tr.losses(tmp_path, 2)) > 3, "the workers agreed to leave, and where"
    assert tr.losses(tmp_path, 1, 2) == pytest.approx(tr.losses(alone), rel=1e-6)
