"""Each optimizer step leads to the rows of the file that it took, however they were dealt, packed or cut."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training_run as tr

from tunesmith.rows.order import ORDER_FILE, RowOrder


def order_of(samples: Any, batch: int, *, reshuffles: bool = False) -> RowOrder:
    bounds, numbers = samples.origins
    order = RowOrder(7, reshuffles, batch, bounds.tolist(), numbers.tolist())
    decoded = RowOrder.decode(order.encode())
    assert decoded is not None
    assert [decoded.rows_of(step) for step in (1, 2)] == [order.rows_of(step) for step in (1, 2)]
    return decoded


def some_rows(count: int = 23) -> Any:
    """Rows whose tokens are all their number in the file; every third row of the file was left out."""
    from tunesmith_jobs.batches.rows import Rows

    numbers = [n for n in range(1, 2 * count) if n % 3][:count]
    ids = [np.full(3 + n % 5, n, np.int32) for n in numbers]
    return Rows.of(ids, [part.copy() for part in ids], numbers)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("reshuffles", [False, True])
@pytest.mark.parametrize("kind", ["rows", "packed", "blocks"])
def test_a_step_leads_to_the_rows_that_it_took(world: int, reshuffles: bool, kind: str) -> None:
    from tunesmith_jobs.batches.packing import BlockRows, PackedRows
    from tunesmith_jobs.batches.rows import Order

    rows = some_rows()
    samples = {
        "rows": lambda: rows,
        "packed": lambda: PackedRows(rows, 16),
        "blocks": lambda: BlockRows(rows, 8),
    }
    taken = samples[kind]()
    batch, accumulation = 2, 2
    found = order_of(taken, batch * accumulation * world, reshuffles=reshuffles)
    for epoch in range(2):
        workers = []
        for rank in range(world):
            order = Order(
                len(taken), batch, 7, reshuffle=reshuffles, world=world, rank=rank, accumulation=accumulation,
                lengths=taken.lengths,
            )  # fmt: skip
            order.epoch = epoch
            workers.append(list(order))
        for step in range(found.steps_per_epoch):
            mine = slice(step * accumulation, (step + 1) * accumulation)
            indices = [i for worker in workers for part in worker[mine] for i in part if i >= 0]
            seen = {int(token) for i in indices for token in taken[i].input_ids}
            assert found.rows_of(epoch * found.steps_per_epoch + step + 1) == (epoch, sorted(seen))


@pytest.mark.parametrize("data", [b"", b"\n", b"{}\n", b'{"samples": 2}\n1234', b"\x00" * 100, b"[1]\n"])
def test_what_is_no_order_is_none(data: bytes) -> None:
    assert RowOrder.decode(data) is None


def test_a_run_writes_the_order_of_its_rows(tmp_path: Path, model: Path) -> None:
    """The loss of a step is the loss of its rows alone: a file of just these gives the same."""
    assert tr.run(tmp_path, model, max_steps=3, lora_dropout=0.0, learning_rate=1e-6).outcome == "completed"
    data = (tmp_path / "artifacts" / ORDER_FILE).read_bytes()
    order = RowOrder.decode(data)
    assert order is not None
    _, numbers = order.rows_of(3)
    assert len(numbers) == 4
    lines = (tmp_path / "train.jsonl").read_text().splitlines()
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "train.jsonl").write_text("".join(lines[number - 1] + "\n" for number in numbers))
    assert tr.run(alone, model, max_steps=1, lora_dropout=0.0, learning_rate=1e-6).outcome == "completed"
    assert tr.losses(alone)[1] == pytest.approx(tr.losses(tmp_path)[3], rel=1e-4)
    assert json.loads(data.split(b"\n", 1)[0])["samples"] == 24


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 7, 12])
@pytest.mark.parametrize("is_in_step", [False, True])
def test_every_row_is_evaluated_once(world: int, count: int, is_in_step: bool) -> None:
    from tunesmith_jobs.batches.rows import EvaluationBatches

    lengths = np.asarray([(5 * row) % 7 for row in range(count)], np.int32)
    workers = [
        EvaluationBatches.of(lengths, 2, world=world, rank=rank, is_in_step=is_in_step)
        for rank in range(world)
    ]
    counted = [row for worker in workers for batch in worker.batches[: worker.own] for row in batch]
    assert sorted(counted) == list(range(count))
    for worker in workers:
        assert worker.common <= len(worker.batches)
        assert all(batch for batch in worker.batches)
        longest = [max(lengths[row] for row in batch) for batch in worker.batches[: worker.own]]
        assert longest == sorted(longest, reverse=True)
    assert len({worker.common for worker in workers}) == 1
    if is_in_step:
        assert {len(worker.batches) for worker in workers} == {workers[0].common}
