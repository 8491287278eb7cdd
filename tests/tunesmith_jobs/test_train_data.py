"""What a run trains on: packing without contamination, blocks, classes, the order of rows, and the loss they give."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training_run as tr
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import TEXTS, make_tiny_model

from tunesmith.lifecycle import Reason, State
from tunesmith.rows.encoding import IGNORE_INDEX

CHAT = [{"role": "user", "content": "Frage?"}, {"role": "assistant", "content": "Eine Antwort 🎉"}]
pytestmark = pytest.mark.usefixtures("one_thread")


def started(folder: Path, attempt: int = 1) -> dict[str, Any]:
    facts: dict[str, Any] = next(
        event for event in tr.events(folder, attempt) if event["kind"] == "training_started"
    )["facts"]
    return facts


def some_rows(lengths: list[int], seed: int = 0) -> Any:
    """Rows of random tokens; the first half of each, and its first token, is not trained."""
    from tunesmith_jobs.train.rows import Rows

    draw = np.random.default_rng(seed)
    ids = [draw.integers(5, 500, length).astype(np.int32) for length in lengths]
    labels = [np.where(np.arange(len(row)) < max(1, len(row) // 2), IGNORE_INDEX, row) for row in ids]
    return Rows.of(ids, labels)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# --- packs and blocks


@given(st.lists(st.integers(1, 64), min_size=1, max_size=200))
def test_packs_hold_every_row_once_and_waste_little(lengths: list[int]) -> None:
    from tunesmith_jobs.train.packing import best_fit

    packs = best_fit(lengths, 64)
    assert sorted(row for pack in packs for row in pack) == list(range(len(lengths)))
    room = [64 - sum(lengths[row] for row in pack) for pack in packs]
    assert min(room) >= 0
    assert sum(left >= 32 for left in room) <= 1, "two half empty packs would have been one"
    assert packs == best_fit(lengths, 64)


def test_documents_are_cut_into_blocks_at_any_place() -> None:
    from tunesmith_jobs.train.packing import BlockRows
    from tunesmith_jobs.train.rows import Rows

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

    from tunesmith_jobs.train.collate import Collator, take_counts
    from tunesmith_jobs.train.packing import PackedRows

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

    from tunesmith_jobs.train.collate import Collator
    from tunesmith_jobs.train.evaluation import TokenScores
    from tunesmith_jobs.train.packing import PackedRows

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


# --- the order


@pytest.mark.parametrize(("batch", "accumulation", "world"), [(2, 4, 1), (8, 1, 1), (2, 2, 2), (1, 2, 4)])
def test_a_step_has_the_same_rows_however_it_is_divided(batch: int, accumulation: int, world: int) -> None:
    from tunesmith_jobs.train.rows import Order

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
    from tunesmith_jobs.train.rows import Order

    lengths = np.random.default_rng(0).gamma(2.0, 100.0, 512).astype(np.int32) + 10

    def useful(order: Order) -> float:
        return float(lengths.sum() / sum(max(lengths[batch]) * len(batch) for batch in order))

    assert useful(Order(512, 2, 7, accumulation=4, lengths=lengths)) > useful(Order(512, 2, 7)) + 0.1


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

    from tunesmith_jobs.train import loss as losses

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

    from tunesmith_jobs.train.loss import use_supervised_loss

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

    from tunesmith_jobs.train.loss import use_supervised_loss

    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    small |= {"num_key_value_heads": 1, "vocab_size": 64, "head_dim": 8}
    torch.manual_seed(0)
    capped = Gemma2ForCausalLM(Gemma2Config(**small, final_logit_softcapping=0.1))
    scaled = GraniteForCausalLM(GraniteConfig(**small, logits_scaling=3.0))
    for net in (capped, scaled):
        assert "behind the head" in (use_supervised_loss(net) or "")
        assert "forward" not in vars(net)


# --- whole runs


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
    facts = started(whole)
    assert facts["rows"] == 54
    assert facts["sequences"] == -(-facts["tokens"] // 128)
    loss = tr.losses(whole)
    assert loss[12] < loss[1] - 1.0
    assert tr.losses(whole, name="useful_token_share")[1] == 1.0
    assert tr.losses(whole, name="eval_loss")[12] < loss[1] - 1.0
    assert tr.run(cut, model, stop_at=5, **more).reason is Reason.STOPPED_BY_USER
    assert tr.run(cut, model, attempt=2, **more).outcome is State.COMPLETED
    assert tr.losses(cut, 1, 2) == loss


def test_a_packed_run_sees_every_row_in_fewer_steps(tmp_path: Path, model: Path) -> None:
    more = {"packing": True, "max_length": 256, "max_steps": -1, "num_train_epochs": 1}
    outcome = tr.run(tmp_path, model, **more)
    assert outcome.outcome is State.COMPLETED, outcome
    facts = started(tmp_path)
    assert facts["rows"] == 24
    assert facts["sequences"] < 12
    last = max(tr.losses(tmp_path))
    assert tr.losses(tmp_path, name="supervised_tokens")[last] == facts["supervised_tokens"]
    assert facts["loss"] == "of trained positions"


def feelings(path: Path, count: int, *more: str, seed: int = 0) -> Path:
    draw = random.Random(seed)
    words = {"good": ("fine", "glad", "happy"), "bad": ("sad", "broken", "wrong"), "so-so": ("maybe", "hm")}
    names = [draw.choice(list(words)) for _ in range(count)]
    rows = [{"text": f"This is {draw.choice(words[name])}.", "label": name} for name in names]
    return write(path, [*rows, *({"text": "x", "label": name} for name in more)])


@pytest.mark.parametrize("use_lora", [True, False])
def test_classification_learns_the_classes(tmp_path: Path, model: Path, use_lora: bool) -> None:
    rows = feelings(tmp_path / "train.jsonl", 48)
    held_out = feelings(tmp_path / "eval.jsonl", 17, seed=1)
    outcome = tr.run(
        tmp_path, model, rows=rows, eval_rows=str(held_out), training_type="classification", use_lora=use_lora,
        learning_rate=1e-2 if use_lora else 3e-3, max_steps=30, eval_strategy="steps", eval_steps=15, eval_file="/x",
        lora_dropout=0.0, save_steps=15,
    )  # fmt: skip
    assert outcome.outcome is State.COMPLETED, outcome
    assert started(tmp_path)["classes"] == ["bad", "good", "so-so"]
    values = {name: tr.losses(tmp_path, name=name) for name in ("eval_loss", "eval_accuracy", "eval_f1")}
    assert values["eval_loss"][30] < values["eval_loss"][0]
    assert values["eval_accuracy"][30] > 0.9
    assert values["eval_f1"][30] > 0.9
    assert not tr.losses(tmp_path, name="eval_perplexity")
    assert tr.losses(tmp_path, name="supervised_tokens")[1] == 4  # rows of the effective batch


def test_the_loss_of_classes_is_the_mean_over_the_rows_of_the_step(tmp_path: Path, model: Path) -> None:
    import torch
    from transformers import AutoTokenizer

    rows = feelings(tmp_path / "train.jsonl", 5)
    tr.run(
        tmp_path, model, rows=rows, training_type="classification", use_lora=False, max_steps=1,
        gradient_accumulation_steps=4, warmup_steps=10,  # so that the first step moves nothing
    )  # fmt: skip
    from transformers import AutoModelForSequenceClassification

    net = AutoModelForSequenceClassification.from_pretrained(tmp_path / "artifacts" / "model")
    assert net.config.label2id == {name: i for i, name in net.config.id2label.items()}
    tokenizer = AutoTokenizer.from_pretrained(model)
    total = 0.0
    for line in rows.read_text().splitlines():
        row = json.loads(line)
        ids = tokenizer(row["text"], return_tensors="pt")["input_ids"]
        label = torch.tensor([net.config.label2id[row["label"]]])
        with torch.no_grad():
            total += float(torch.nn.functional.cross_entropy(net(input_ids=ids).logits, label))
    assert tr.losses(tmp_path)[1] == pytest.approx(total / 5, rel=1e-4)


def test_classes_that_cannot_be_learned_are_refused(tmp_path: Path, model: Path) -> None:
    one = write(tmp_path / "one.jsonl", [{"text": "x", "label": 1}] * 3)
    outcome = tr.run(tmp_path, model, rows=one, training_type="classification")
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.BAD_DATA)
    assert "same class" in outcome.message
    rows = feelings(tmp_path / "train.jsonl", 8)
    other = feelings(tmp_path / "eval.jsonl", 2, "furious")
    outcome = tr.run(
        tmp_path, model, rows=rows, eval_rows=str(other), training_type="classification", attempt=2
    )
    assert outcome.reason is Reason.BAD_DATA
    assert "`furious`" in outcome.message


def test_f1_is_the_mean_over_the_classes_that_are_there() -> None:
    import torch

    from tunesmith_jobs.train.evaluation import ClassScores

    class Net:
        def __call__(self, **inputs: Any) -> Any:
            return type("Outputs", (), {"logits": inputs["logits"]})

    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    answers = torch.tensor([0, 1, 1, 1, 0, 2])
    scores = ClassScores(torch.device("cpu"), 5)
    for part in (slice(0, 2), slice(2, 6)):
        logits = torch.nn.functional.one_hot(answers[part], 5) * 50.0
        scores.add(Net(), {"logits": logits, "labels": labels[part]})
    values = scores.values()
    # Precision and recall by hand: 1/2 and 1/2; 2/3 and 2/2; 1/1 and 1/2.
    assert values["eval_f1"] == pytest.approx((1 / 2 + 4 / 5 + 2 / 3) / 3)
    assert values["eval_accuracy"] == pytest.approx(4 / 6)
    assert values["eval_loss"] == pytest.approx(100 / 6)


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
    rows = write(
        tmp_path / "train.jsonl", [json.loads(json.dumps(row).replace("{}", str(i))) for i in range(9)]
    )
    outcome = tr.run(tmp_path, model, rows=rows, max_steps=2, **more)
    assert outcome.outcome is State.COMPLETED, outcome
    written = (tmp_path / "artifacts" / "model" / "chat_template.jinja").read_text()
    own = (model / "chat_template.jinja").read_text()
    assert (written != own) == ("chat_template" in more)


def test_the_whole_conversation_is_trained_when_asked(tmp_path: Path, model: Path) -> None:
    assert tr.run(tmp_path, model, max_steps=1, assistant_only_loss=False).outcome is State.COMPLETED
    facts = started(tmp_path)
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
    from tunesmith.rows.microscope import preview
    from tunesmith.spec.training import TrainSpec
    from tunesmith_jobs.train.data import load_data

    file = write(tmp_path / "rows.jsonl", lines)
    asked = TrainSpec.read(
        {"model_name_or_path": str(model), "train_file": str(file), "max_length": 48, "use_lora": False}
        | spec
    )
    shown = preview(file, asked, model, first=50).rows
    facts = load_data(asked, model, file, None, None).facts()
    assert facts["first_rows_sha256"] == [row.sha256 for row in shown if row.sha256]
    assert facts["rows_dropped"] == sum(row.sha256 is None for row in shown)
