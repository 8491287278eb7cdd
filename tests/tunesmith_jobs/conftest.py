"""What the tests of jobs share: a tiny model, one thread, and the helper modules beside them."""

import gc
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from compared import Asked, Trained

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def one_thread() -> None:
    """Sums do not depend on how many cores there are. Modules that train ask for it by `pytestmark`."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of the module's own."""
    from tiny_model import make_tiny_model

    importlib.import_module(
        "tunesmith_jobs.train.run.trainer"
    )  # the libraries' imports are no test's own time
    gc.freeze()  # nor are they garbage
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """The folder of a run that nothing disturbed."""
    import training_run as tr

    from tunesmith.lifecycle import State

    folder = tmp_path_factory.mktemp("undisturbed")
    assert tr.run(folder, model).outcome is State.COMPLETED
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, model: Path) -> "Trained":
    """A training whose checkpoints are evaluated."""
    from compared import Trained

    return Trained(tmp_path_factory.mktemp("trained"), model)


@pytest.fixture
def asked(tmp_path: Path, trained: "Trained", monkeypatch: pytest.MonkeyPatch) -> "Asked":
    """Evaluations of it."""
    from compared import Asked

    return Asked(tmp_path, trained, monkeypatch)
