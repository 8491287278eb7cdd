"""What a run trains on: the order of rows, the loss they give, their shapes, and what the microscope shows of them."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training_run as tr
from tiny_model import TEXTS, make_tiny_model

from tunesmith.dataset_views import Part
from tunesmith.lifecycle import Reason, State
from tunesmith.rows.tokens.encoding import IGNORE_INDEX

CHAT = [{"role": "user", "content": "Frage?"}, {"role": "assistant", "content": "Eine Antwort 🎉"}]
pytestmark = pytest.mark.usefixtures("one_thread")


# --- the order


@pytest.mark.parametrize(("batch", "accumulation", "world"), [(2, 4, 1), (8, 1, 1), (2, 2, 2), (1, 2, 4)])
def test_a_step_has_the_same_rows_however_it_is_divided(batch: int, accumulation: int, world: int) -> None:
    from tunesmith_jobs.batches.rows import Order

    lengths = np.random.default_rng(1).integers(5, 500, 43).astype(np.int32)
    plain = [row for rows in Order(43, 1, 7) for row in rows]
    workers = [
        list(Order(43, batch, 7, world=world, rank=rank, accumulation=accumulation, lengths=lengths))
        for rank in range(world)
    ]
    assert {len(batches) for batches in workers} == {-(-43 // (batch * world))}
    for step in range(-(-43 // 8)):
        part = slice(step * accumulation, (step + 1) * accumulation)
        rows = [row for batches in workers for one in batches[part] for row in one if row >= 0]
        assert sorted(rows) == sorted(plain[step * 8 : (step + 1) * 8])


def test_rows_of_like_length_save_padding() -> None:
    from tunesmith_jobs.batches.rows import Order

    lengths = np.random.default_rng(0).gamma(2.0, 100.0, 512).astype(np.int32) + 10

    def useful(order: Order) -> float:
        return float(lengths.sum() / sum(max(lengths[batch]) * len(batch) for batch in order))

    assert useful(Order(512, 2, 7, accumulation=4, lengths=lengths)) > useful(Order(512, 2, 7)) + 0.1


def test_max_samples_are_drawn_by_the_seed(tmp_path: Path, model: Path) -> None:
    from tunesmith_jobs.batches.encoded import load_rows
    from tunesmith_jobs.batches.rows import hold_out

    file = tr.write_rows(tmp_path / "train.jsonl", 200)
    first, same, other = (
        load_rows(tr.source(file, model, max_samples=20, seed=seed)).rows for seed in (1, 1, 2)
    )
    texts = [[tuple(rows[i].input_ids) for i in range(20)] for rows in (first, same, other)]
    assert texts[0] == texts[1] != texts[2]
    left, held = hold_out(first, 0.25, 1)
    assert (len(left), len(held)) == (15, 5)
    assert {tuple(left[i].input_ids) for i in range(15)} | {
        tuple(held[i].input_ids) for i in range(5)
    } == set(texts[0])


def test_every_row_is_taken_once_an_epoch_by_any_number_of_workers() -> None:
    from tunesmith_jobs.batches.rows import Order

    for world in (1, 2, 3):
        orders = [Order(23, 4, 7, world=world, rank=rank) for rank in range(world)]
        assert len({len(list(order)) for order in orders}) == 1
        assert all(len(list(order)) == len(order) for order in orders)
        taken = [i for order in orders for batch in order for i in batch if i >= 0]
        assert sorted(taken) == list(range(23))
    order = Order(23, 4, 7)
    first = list(order)
    order.epoch = 1
    assert list(order) == first
    again = Order(23, 4, 7, reshuffle=True)
    again.epoch = 1
    assert list(again) != first


# --- the loss at trained positions alone


def tuned(path: Path, kind: str) -> Any:
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_pretrained(path)
    if kind == "untied":
        import torch

        net.config.tie_word_embeddings = False
        net.lm_head.weight = torch.nn.Parameter(net.lm_head.weight.detach().clone())
    if kind == "lora":
        from peft import LoraConfig, get_peft_model

        net = get_peft_model(net, LoraConfig(target_modules="all-linear", init_lora_weights=False))
    return net


@pytest.mark.parametrize("kind", ["tied", "untied", "lora"])
@pytest.mark.parametrize("bf16", [False, True])
def test_the_loss_at_trained_positions_is_the_models_own(
    model: Path, kind: str, bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from tunesmith_jobs.models import loss as losses

    monkeypatch.setattr(losses, "_PIECE_ELEMENTS", 5000)  # many pieces
    torch.manual_seed(0)
    plain, ours = tuned(model, kind), tuned(model, kind)
    ours.load_state_dict(plain.state_dict())
    assert losses.use_supervised_loss(ours) is None
    assert ours.training == plain.training
    ids = torch.randint(5, 500, (3, 60))
    labels = ids.clone()
    labels[:, :20] = IGNORE_INDEX
    labels[1, 35:] = IGNORE_INDEX
    found = []
    for net in (plain, ours):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            value = net(
                input_ids=ids, labels=labels, num_items_in_batch=torch.tensor(70), use_cache=False
            ).loss
        value.backward()
        found.append((value.detach(), {n: p.grad for n, p in net.named_parameters() if p.grad is not None}))
    (loss, grads), (own_loss, own_grads) = found
    assert float(own_loss) == pytest.approx(float(loss), rel=2e-3 if bf16 else 1e-5)
    assert own_grads.keys() == grads.keys()
    for name, grad in grads.items():
        far = float((own_grads[name] - grad).norm() / grad.norm().clamp(min=1e-8))
        assert far < (0.05 if bf16 else 1e-5), name
    with torch.no_grad():
        assert torch.equal(ours(input_ids=ids).logits, plain(input_ids=ids).logits)
        mean = plain(input_ids=ids, labels=labels).loss
        assert float(ours(input_ids=ids, labels=labels).loss) == pytest.approx(float(mean), rel=1e-4)


def test_a_batch_without_labels_has_a_loss_of_zero_and_gradients(model: Path) -> None:
    import torch

    from tunesmith_jobs.models.loss import use_supervised_loss

    net = tuned(model, "tied")
    use_supervised_loss(net)
    ids = torch.randint(5, 500, (1, 9))
    loss = net(input_ids=ids, labels=torch.full_like(ids, IGNORE_INDEX), num_items_in_batch=5).loss
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in net.parameters())


def test_a_model_that_changes_its_logits_keeps_its_own_loss() -> None:
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM, GraniteConfig, GraniteForCausalLM

    from tunesmith_jobs.models.loss import use_supervised_loss

    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    small |= {"num_key_value_heads": 1, "vocab_size": 64, "head_dim": 8}
    torch.manual_seed(0)
    capped = Gemma2ForCausalLM(Gemma2Config(**small, final_logit_softcapping=0.1))
    scaled = GraniteForCausalLM(GraniteConfig(**small, logits_scaling=3.0))
    for net in (capped, scaled):
        assert "behind the head" in (use_supervised_loss(net) or "")
        assert "forward" not in vars(net)


# --- whole runs


@pytest.mark.slow
def test_pretraining_on_plain_text(tmp_path: Path, model: Path) -> None:
    draw = random.Random(0)
    text = tmp_path / "train.txt"
    text.write_text("\n\n".join(draw.choice(TEXTS[:4]) for _ in range(60)))
    more = {
        "rows": text, "training_type": "pretrain", "use_lora": False, "max_length": 128, "learning_rate": 3e-3,
        "eval_strategy": "epoch", "eval_sampling_ratio": 0.1,
    }  # fmt: skip
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    outcome = tr.run(whole, model, **more)
    assert outcome.outcome is State.COMPLETED, outcome
    facts = tr.facts(whole)
    assert facts["rows"] == 54
    assert facts["sequences"] == -(-facts["tokens"] // 128)
    loss = tr.losses(whole)
    assert loss[12] < loss[1] - 1.0
    assert tr.losses(whole, name="useful_token_share")[1] == 1.0
    assert tr.losses(whole, name="eval_loss")[12] < loss[1] - 1.0
    assert tr.run(cut, model, stop_at=5, **more).reason is Reason.STOPPED_BY_USER
    assert tr.run(cut, model, attempt=2, **more).outcome is State.COMPLETED
    assert tr.losses(cut, 1, 2) == loss


@pytest.mark.parametrize(
    ("row", "more"),
    [
        ({"ask": "{}?", "say": "The number {}."}, {"prompt_column": "ask", "response_column": "say"}),
        ({"body": "A text of {} words, and no more."}, {"text_column": "body"}),
        ({"conversations": [{"from": "human", "value": "{}?"}, {"from": "gpt", "value": "Yes, {}."}]}, {}),
        ({"instruction": "{}?", "input": "", "output": "It is {}."}, {"chat_template": "mistral"}),
    ],
)
def test_each_shape_of_row_trains(
    tmp_path: Path, model: Path, row: dict[str, Any], more: dict[str, str]
) -> None:
    rows = tr.write_lines(
        tmp_path / "train.jsonl", [json.loads(json.dumps(row).replace("{}", str(i))) for i in range(9)]
    )
    outcome = tr.run(tmp_path, model, rows=rows, max_steps=2, **more)
    assert outcome.outcome is State.COMPLETED, outcome
    written = (tmp_path / "artifacts" / "model" / "chat_template.jinja").read_text()
    own = (model / "chat_template.jinja").read_text()
    assert (written != own) == ("chat_template" in more)


def test_the_whole_conversation_is_trained_when_asked(tmp_path: Path, model: Path) -> None:
    assert tr.run(tmp_path, model, max_steps=1, assistant_only_loss=False).outcome is State.COMPLETED
    facts = tr.facts(tmp_path)
    assert facts["supervised_tokens"] == facts["tokens"] - facts["rows"]  # nothing predicts a first token


def test_a_model_without_a_template_asks_for_one(tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "model", with_template=False)
    outcome = tr.run(tmp_path, base)
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.BAD_MODEL)
    assert "`chat_template`" in outcome.message
    assert "`chatml`" in outcome.message
    assert tr.run(tmp_path, base, chat_template="chatml", max_steps=1, attempt=2).outcome is State.COMPLETED


def test_loader_processes_change_nothing(tmp_path: Path, model: Path) -> None:
    runs = []
    for workers in (0, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        outcome = tr.run(
            folder, model, max_steps=8, dataloader_num_workers=workers, reshuffle_each_epoch=True
        )
        assert outcome.outcome is State.COMPLETED, outcome
        runs.append(tr.losses(folder))
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("lines", "spec"),
    [
        (
            [
                {"messages": CHAT},
                {"messages": [*CHAT, *CHAT]},
                {"instruction": "q" * 99, "output": "cut away"},
            ],
            {},
        ),
        ([{"text": "A text 世界"}, {"text": "x" * 200}], {"training_type": "sft"}),
        ([{"text": "A document."}, {"text": "Another."}], {"training_type": "pretrain"}),
        ([{"text": "b", "label": "no"}, {"text": "a", "label": "yes"}], {"training_type": "classification"}),
        ([{"a": "q", "b": "<|im_end|> r"}], {"prompt_column": "a", "response_column": "b"}),
        ([{"messages": CHAT}], {"assistant_only_loss": False, "packing": True}),
    ],
)
def test_the_microscope_shows_what_the_trainer_is_given(
    tmp_path: Path, model: Path, lines: list[dict[str, Any]], spec: dict[str, Any]
) -> None:
    from tunesmith.rows.report.preview import preview
    from tunesmith.spec.training import TrainSpec
    from tunesmith_jobs.batches.inputs import load_data

    file = tr.write_lines(tmp_path / "rows.jsonl", lines)
    asked = TrainSpec.read(
        {"model_name_or_path": str(model), "train_file": str(file), "max_length": 48, "use_lora": False}
        | spec
    )
    shown = preview(file, asked, model, first=50).rows
    facts = load_data(asked, model, file, None, None).facts()
    assert facts["first_rows_sha256"] == [row.sha256 for row in shown if row.sha256]
    assert facts["rows_dropped"] == sum(row.sha256 is None for row in shown)


def test_a_run_tells_what_each_data_set_gave(tmp_path: Path, model: Path) -> None:
    parts = (Part(source="a@1", rows=20), Part(source="/b.jsonl", rows=4))
    assert tr.run(tmp_path, model, max_steps=1, parts=parts).outcome is State.COMPLETED
    assert tr.facts(tmp_path)["rows_by_dataset"] == [part.model_dump() for part in parts]
