"""Documents of a packed row, in architectures that isolate them and in those that do not: the loss is each row's."""

import json
from pathlib import Path

import pytest
import training_run as tr
from small_models import model_of
from tiny_model import make_tiny_model

from tunesmith.lifecycle import State

APART = {
    "llama": True, "mixtral": True, "gpt_oss": False, "lfm2": False, "opt": False, "bloom": False, "falcon": False,
    "mamba2": False,
}  # fmt: skip
"""Whether an architecture isolates documents by their positions."""
EVALUATED = {"eval_strategy": "steps", "eval_steps": 2}
SHORT = ("llama", "opt", "mamba2")
"""One of each mechanism: positions, a mask of its own, a state."""


def alone(model: Path, rows: list[tuple[list[int], list[int]]]) -> float:
    """The mean loss over all labels, each row by itself, computed by transformers."""
    import torch
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    total = count = 0.0
    with torch.no_grad():
        for ids, labels in rows:
            logits = network(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1].float()
            goals = torch.tensor(labels[1:])
            total += float(
                torch.nn.functional.cross_entropy(logits, goals, ignore_index=-100, reduction="sum")
            )
            count += int((goals != -100).sum())
    return total / count


def encoded(model: Path, file: Path) -> list[tuple[list[int], list[int]]]:
    from tunesmith_jobs.batches.token_cache import TokenCache

    rows = TokenCache(None).load(tr.source(file, model), lambda *_: None)[0].rows
    return [(rows[i].input_ids.tolist(), rows[i].labels.tolist()) for i in range(len(rows))]


@pytest.mark.parametrize(
    "kind", [kind if kind in SHORT else pytest.param(kind, marks=pytest.mark.long) for kind in APART]
)
def test_the_packed_loss_is_that_of_each_row_alone(tmp_path: Path, kind: str) -> None:
    model, is_apart = model_of(kind, tmp_path / "model"), APART[kind]
    rows = tr.write_rows(tmp_path / "rows.jsonl", 12)
    outcome = tr.run(
        tmp_path, model, rows=rows, eval_rows=str(rows), eval_file=str(rows), max_steps=1, **EVALUATED,
        packing=True, max_length=256, use_lora=False, save_strategy="no", per_device_eval_batch_size=2,
        learning_rate=0.0001,
    )  # fmt: skip
    assert outcome.outcome is State.COMPLETED, outcome
    # What is evaluated before the first step.
    assert tr.losses(tmp_path, name="eval_loss")[0] == pytest.approx(
        alone(model, encoded(model, rows)), abs=1e-5
    )
    warned = [event["code"] for event in tr.kinds(tmp_path, "warning")]
    assert ("documents_unpacked" in warned) is not is_apart
    assert tr.facts(tmp_path)["sequences"] < 12


def test_a_packed_step_is_the_step_of_its_documents(tmp_path: Path) -> None:
    """Loss and gradient of one step, in a model whose documents would see each other, packed and not."""
    model = model_of("opt", tmp_path / "model")
    rows = tr.write_rows(tmp_path / "rows.jsonl", 8)
    same = {"rows": rows, "max_steps": 1, "use_lora": False, "save_strategy": "no", "max_grad_norm": 0.0}
    found = []
    for name, way in (
        ("packed", {"packing": True, "max_length": 512, "per_device_train_batch_size": 1,
                    "gradient_accumulation_steps": 8}),
        ("rows", {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}),
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        tr.run(tmp_path / name, model, **same, **way)
        found.append([tr.losses(tmp_path / name, name=value)[1] for value in ("loss", "grad_norm")])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_pretraining_documents_do_not_see_each_other(tmp_path: Path) -> None:
    model = model_of("opt", tmp_path / "model")
    texts = [{"text": f"document {n} " + "so very " * (n % 5) + "."} for n in range(10)]
    rows = tr.write_lines(tmp_path / "rows.jsonl", texts)
    tr.run(
        tmp_path, model, rows=rows, eval_rows=str(rows), eval_file=str(rows), max_steps=1, **EVALUATED,
        training_type="pretrain", max_length=4096 // 8, save_strategy="no", learning_rate=1e-4,
    )  # fmt: skip
    from tunesmith_jobs.batches.token_cache import TokenCache

    found = TokenCache(None).load(tr.source(rows, model, training_type="pretrain"), lambda *_: None)[0].rows
    each = [(found[i].input_ids.tolist(), found[i].labels.tolist()) for i in range(len(found))]
    assert tr.losses(tmp_path, name="eval_loss")[0] == pytest.approx(alone(model, each), abs=1e-5)


def test_an_evaluation_of_packed_rows_is_that_of_each_row_alone(tmp_path: Path) -> None:
    """The collator alone decides it: the same rows, packed, as a batch of a model that sees neighbours."""
    from tunesmith_jobs.batches.collate import Collator, documents_of, take_counts
    from tunesmith_jobs.batches.packing import PackedRows
    from tunesmith_jobs.batches.token_cache import TokenCache

    model = make_tiny_model(tmp_path / "model")
    rows = (
        TokenCache(None)
        .load(tr.source(tr.write_rows(tmp_path / "rows.jsonl", 9), model), lambda *_: None)[0]
        .rows
    )
    packed = PackedRows(rows, 256)
    collate = Collator(0)
    collate.is_unpacked = True
    batch = collate([packed[i] for i in range(len(packed))])
    assert "position_ids" not in batch
    assert batch["input_ids"].shape[0] == 9
    assert sorted(take_counts(batch).lengths) == sorted(rows.lengths.tolist())
    documents = [document for i in range(len(packed)) for document in documents_of(packed[i])]
    assert sorted(d.input_ids.tolist() for d in documents) == sorted(
        rows[i].input_ids.tolist() for i in range(9)
    )


def test_a_step_with_a_balance_of_experts_is_the_same_however_it_is_cut(tmp_path: Path) -> None:
    """Of a whole batch, as transformers computes it, it would be added once a batch: 8 rows at once, or 8 times one."""
    model = model_of("mixtral", tmp_path / "model", output_router_logits=True, router_aux_loss_coef=1.0)
    rows = tr.write_rows(tmp_path / "rows.jsonl", 8)
    found = {}
    for size, coefficient in ((8, 1.0), (2, 1.0), (1, 1.0), (8, 0.0)):
        folder = tmp_path / f"{size}-{coefficient}"
        folder.mkdir()
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"router_aux_loss_coef": coefficient}))
        outcome = tr.run(
            folder, model, rows=rows, eval_rows=str(rows), eval_file=str(rows), max_steps=1, **EVALUATED,
            use_lora=False, save_strategy="no", per_device_train_batch_size=size, per_device_eval_batch_size=size,
            gradient_accumulation_steps=8 // size, max_grad_norm=0.0,
        )  # fmt: skip
        assert outcome.outcome is State.COMPLETED, outcome
        assert tr.facts(folder)["loss"] == "of trained positions"
        found[size, coefficient] = [
            tr.losses(folder, name=name)[step]
            for name, step in (("loss", 1), ("grad_norm", 1), ("eval_loss", 0))
        ]
    assert found[2, 1.0] == pytest.approx(found[8, 1.0], rel=1e-5)
    assert found[1, 1.0] == pytest.approx(found[8, 1.0], rel=1e-5)
    assert found[8, 1.0][2] == pytest.approx(alone(model, encoded(model, rows)), abs=1e-5)
    assert found[8, 1.0][0] == pytest.approx(found[8, 0.0][0]), "what is shown is the tokens' loss"
    assert found[8, 1.0][1] != pytest.approx(found[8, 0.0][1], rel=1e-3), "the balance is trained"


@pytest.mark.parametrize("way", ["fp32", "bf16", "autocast"])
@pytest.mark.parametrize("kind", APART)
def test_a_model_is_asked_in_the_numbers_that_it_is_trained_in(tmp_path: Path, kind: str, way: str) -> None:
    """In 16 bits a document alone and one in a pack differ by rounding: that is no neighbour seen."""
    import torch
    from transformers import AutoModelForCausalLM

    from tunesmith_jobs.models.isolation import sees_neighbours

    dtype = torch.bfloat16 if way == "bf16" else torch.float32
    network = AutoModelForCausalLM.from_pretrained(model_of(kind, tmp_path / "model"), dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast"):
        assert [sees_neighbours(network, rows) for rows in (1, 2)] == [not APART[kind]] * 2


def test_a_balance_that_cannot_be_taken_row_by_row_is_left_out(tmp_path: Path) -> None:
    """Of a compiled or a shared-out model the loss is its own, which would add the balance once a batch."""
    import torch
    from transformers import AutoModelForCausalLM

    from tunesmith_jobs.models.loss import without_balance

    folder = model_of("mixtral", tmp_path / "model", output_router_logits=True, router_aux_loss_coef=1.0)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.arange(12).reshape(2, 6)
    before = float(network(input_ids=ids, labels=ids).loss)
    assert "not trained" in without_balance(network, "the step is compiled")
    assert float(network(input_ids=ids, labels=ids).loss) < before - 0.1
    assert network.config.output_router_logits, "it is saved as it was"


def test_the_estimate_knows_which_types_are_computed_apart() -> None:
    """The job asks the model itself; before it starts, the type is all that there is."""
    from tunesmith_platform.estimates.shapes import SEES_NEIGHBOURS

    assert {kind: kind not in SEES_NEIGHBOURS for kind in APART} == APART
