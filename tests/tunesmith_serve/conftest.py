"""What the tests of serving share: the helpers of the jobs' tests, one thread, and a small model with adapters."""

import os
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "tunesmith_jobs")]


@pytest.fixture(scope="session")
def one_thread() -> None:
    """Sums do not depend on how many cores there are."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def chatty(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama that is sure of what it says, and its adapters `one`, `two` and `dora` in folders beside it."""
    from asked import make_adapter, make_model

    folder = make_model(tmp_path_factory.mktemp("chatty") / "base")
    for seed, name in enumerate(("one", "two")):
        make_adapter(folder, folder.parent / name, seed, target_modules="all-linear")
    make_adapter(folder, folder.parent / "dora", 2, target_modules=["q_proj", "v_proj"], use_dora=True)
    return folder


from held import plain, rules, write  # noqa: E402

__all__ = ["plain", "rules", "write"]
