"""A base in memory once: nothing of its file stays mapped, and what is read again for the next candidate neither."""

from pathlib import Path

import pytest
import torch
from engine_cases import document, make_adapter, prompts
from safetensors import safe_open
from safetensors.torch import save_file
from small_models import model_of

from tunesmith_jobs.evaluate.engine import Engine, Sampling
from tunesmith_jobs.evaluate.engine.mapped import Mapped


def held_of(file: Path) -> int:
    """Bytes of a file that are in this process's memory by its mappings, its own copies of pages among them."""
    found, is_it = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line[0] in "0123456789abcdef" and "-" in line.split()[0]:
            is_it = line.endswith(str(file))
        elif is_it and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


def test_memory_of_a_mapped_tensor_goes_and_its_neighbours_stay(tmp_path: Path) -> None:
    file = tmp_path / "two.safetensors"
    save_file({name: torch.full((2**20,), float(name)) for name in ("1", "2")}, file)
    with safe_open(file, "pt") as opened:
        one, two = (opened.get_tensor(name) for name in ("1", "2"))
        assert (one.sum(), two.sum()) == (2**20, 2**21)
        mapped, before = Mapped(), held_of(file)
        assert mapped.holds(one)
        assert before >= 2 * 2**22
        mapped.let_go(one)
        assert held_of(file) <= before - 2**22 + 2**14
        assert two.sum() == 2**21
    own = torch.ones(2**20)
    mapped.let_go(own)  # torch's own memory, which it would read as zeros then
    assert own.sum() == 2**20
    assert not mapped.holds(own)


@pytest.mark.slow
def test_a_bases_file_takes_no_memory_while_its_candidates_answer(tmp_path: Path) -> None:
    """Its own copy of the mapping's pages stayed, as large as the base, beside what was merged."""
    model = model_of(
        "llama", tmp_path / "model", hidden_size=256, intermediate_size=1024, num_hidden_layers=4
    )
    adapters = [
        make_adapter(model, tmp_path / str(seed), seed=seed, target_modules="all-linear") for seed in (1, 2)
    ]
    (file,) = model.glob("*.safetensors")
    asked = prompts(4, low=20, high=40, words=200)
    engine = Engine(tmp_path / "scratch")
    answers = []
    for adapter in (*adapters, adapters[0]):
        engine.use(document(model, adapter))
        assert held_of(file) < file.stat().st_size / 20
        answers.append([one.tokens for one in engine.answer(asked, Sampling(max_new_tokens=8, batch_size=4))])
    assert answers[0] == answers[2]
    assert engine.loads == 1
