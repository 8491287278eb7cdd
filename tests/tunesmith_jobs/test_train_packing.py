"""Packing: rows share a sequence without seeing each other, and documents are cut into blocks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training_run as tr
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.lifecycle import State
from tunesmith.rows.tokens.encoding import IGNORE_INDEX

pytestmark = pytest.mark.usefixtures("one_thread")


def some_rows(lengths: list[int], seed: int = 0) -> Any:
    """Rows of random tokens; the first half of each, and its first token, is not trained."""
    from tunesmith_jobs.batches.rows import Rows

    draw = np.random.default_rng(seed)
    ids = [draw.integers(5, 500, length).astype(np.int32) for length in lengths]
    labels = [np.where(np.arange(len(row)) < max(1, len(row) // 2), IGNORE_INDEX, row) for row in ids]
    return Rows.of(ids, labels)


@given(st.lists(st.integers(1, 64), min_size=1, max_size=200))
def test_packs_hold_every_row_once_and_waste_little(lengths: list[int]) -> None:
    from tunesmith_jobs.batches.packing import best_fit

    packs = best_fit(lengths, 64)
    assert sorted(row for pack in packs for row in pack) == list(range(len(lengths)))
    room = [64 - sum(lengths[row] for row in pack) for pack in packs]
    assert min(room) >= 0
    assert sum(left >= 32 for left in room) <= 1, "two half empty packs would have been one"
    assert packs == best_fit(lengths, 64)


def test_documents_are_cut_into_blocks_at_any_place() -> None:
    from tunesmith_jobs.batches.packing import BlockRows
    from tunesmith_jobs.batches.rows import Rows

    documents = [np.arange(10 * i, 10 * i + length, dtype=np.int32) for i, length in enumerate((5, 3, 12, 4))]
    labels = [np.where(np.arange(len(d)) == 0, IGNORE_INDEX, d) for d in documents]
    blocks = BlockRows(Rows.of(documents, labels), 8)
    rows = [blocks[i] for i in range(len(blocks))]
    assert np.concatenate([row.input_ids for row in rows]).tolist() == np.concatenate(documents).tolist()
    positions = [row.positions.tolist() for row in rows if row.positions is not None]
    assert positions == [[0, 1, 2, 3, 4, 0, 1, 2], [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 0, 1, 2, 3]]
    assert [row.examples for row in rows] == [2, 1, 2]
    for row in rows:
        assert row.positions is not None
        is_first = row.positions == 0
        assert (row.labels[is_first] == IGNORE_INDEX).all()
        assert (row.labels[~is_first] == row.input_ids[~is_first]).all()
    assert blocks.supervised == sum(int((row.labels != IGNORE_INDEX).sum()) for row in rows)
    assert (blocks.tokens, blocks.lengths.tolist()) == (24, [8, 8, 8])
    assert (blocks[-2].labels == IGNORE_INDEX).all()
    assert len(BlockRows(Rows.of(documents, labels), 23)) == 1, "a last block of one token trains nothing"
    assert BlockRows(Rows.of(documents, labels), 20).lengths.tolist() == [20, 4]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_rows_do_not_see_each_other(model: Path, attention: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from tunesmith_jobs.batches.collate import Collator, take_counts
    from tunesmith_jobs.batches.packing import PackedRows

    rows = some_rows([20, 13, 7, 30, 1, 25])
    packed = PackedRows(rows, 48)
    assert len(packed) < 4
    net = AutoModelForCausalLM.from_pretrained(model, attn_implementation=attention).eval()
    batch = Collator(0)([packed[i] for i in range(len(packed))])
    counts = take_counts(batch)
    assert counts[0] == rows.tokens
    assert counts.places == batch["input_ids"].numel()
    assert counts.examples == len(rows)
    with torch.no_grad():
        logits = net(**{name: value for name, value in batch.items() if name != "labels"}).logits
        for i, pack in enumerate(packed._packs):
            at = 0
            for row in pack:
                ids = torch.tensor(rows[row].input_ids[None].astype("int64"))
                alone = net(input_ids=ids).logits[0]
                torch.testing.assert_close(logits[i, at : at + len(alone)], alone, rtol=0, atol=1e-4)
                at += len(alone)
        begin = len(rows[packed._packs[0][0]].input_ids)
        changed = batch["input_ids"].clone()
        changed[0, :begin] = (changed[0, :begin] + 7) % 500
        other = net(input_ids=changed, position_ids=batch["position_ids"], use_cache=False).logits
        assert torch.equal(other[0, begin:], logits[0, begin:])
        assert torch.equal(other[1:], logits[1:])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_and_padded_rows_give_the_same_loss(model: Path, attention: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from tunesmith_jobs.batches.collate import Collator
    from tunesmith_jobs.batches.packing import PackedRows
    from tunesmith_jobs.models.scores import TokenScores

    rows = some_rows([20, 13, 7, 30, 2, 25, 40, 11])
    packed = PackedRows(rows, 48)
    net = AutoModelForCausalLM.from_pretrained(model, attn_implementation=attention).eval()

    def loss(*batches: list[Any]) -> float:
        scores = TokenScores(torch.device("cpu"))
        for batch in batches:
            inputs = Collator(0)(batch)
            del inputs["counts"]
            with torch.no_grad():
                scores.add(net, inputs)
        assert scores.sums[1] == rows.supervised
        return scores.values()["eval_loss"]

    alone = loss(*[[rows[i]] for i in range(len(rows))])
    assert loss([rows[i] for i in range(len(rows))]) == pytest.approx(alone, rel=1e-5)
    assert loss(*[[packed[i]] for i in range(len(packed))]) == pytest.approx(alone, rel=1e-5)
    assert loss([packed[i] for i in range(len(packed))]) == pytest.approx(alone, rel=1e-5)


def test_a_packed_run_sees_every_row_in_fewer_steps(tmp_path: Path, model: Path) -> None:
    more = {"packing": True, "max_length": 256, "max_steps": -1, "num_train_epochs": 1}
    outcome = tr.run(tmp_path, model, **more)
    assert outcome.outcome is State.COMPLETED, outcome
    facts = tr.facts(tmp_path)
    assert facts["rows"] == 24
    assert facts["sequences"] < 12
    last = max(tr.losses(tmp_path))
    assert tr.losses(tmp_path, name="supervised_tokens")[last] == facts["supervised_tokens"]
    assert facts["loss"] == "of trained positions"
