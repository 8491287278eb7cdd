"""Estimates over HTTP: what the rows come to, what fits, and the life of a measurement."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest_platform import Plane
from estimated import ask, body, error_of, write
from fastapi.testclient import TestClient

from tunesmith.estimate import EstimateView, Level, MeasurementState
from tunesmith.home import Home
from tunesmith.probe import PROGRAM, RESULT, ProbeDocument, ProbeResult
from tunesmith.rows.tokens.encode_rows import encode_file
from tunesmith.rows.tokens.encoding import IGNORE_INDEX, Encoder
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.backends.compute import Compute
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.db.tables import MeasurementRow
from tunesmith_platform.estimates import measure
from tunesmith_platform.estimates.counter import Counter
from tunesmith_platform.sandbox.count_tokens import SAMPLE_ROWS, CountSource, count_all, count_sample
from tunesmith_platform.sandbox.token_counts import Counts


@pytest.fixture
def plane(home: Home, tiny_model: Path, tmp_path: Path) -> Iterator[Plane]:
    plane = Plane(home, allowed_roots=[str(tmp_path), str(tiny_model.parent)])
    yield plane
    plane.services.estimates.close()
    plane.services.database.close()


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write(tmp_path / "train.jsonl", 40)


def test_tokens_are_those_of_the_encoder_that_trains(
    client: TestClient, tiny_model: Path, rows: Path
) -> None:
    encoded = [one for _, one in encode_file(rows, Encoder.from_folder(tiny_model, 64))]
    trained = [sum(label != IGNORE_INDEX for label in one.labels[1:]) for one in encoded]
    kept = [len(one.input_ids) for one, count in zip(encoded, trained, strict=True) if count]
    data = ask(client, body(tiny_model, rows, max_length=64)).data
    assert not data.is_sample
    assert data.rows == len(kept)
    assert data.tokens == sum(kept)
    assert data.supervised_tokens == sum(trained)
    assert data.cut_share == sum(one.cut > 0 for one in encoded) / 40
    assert data.dropped_share == 1 - len(kept) / 40
    assert data.longest_tokens == 64
    assert 0 < data.padding_share < 0.5


def test_steps_checkpoints_and_disk(client: TestClient, tiny_model: Path, rows: Path) -> None:
    spec = {"save_steps": 2, "save_total_limit": 3, "eval_strategy": "epoch", "eval_sampling_ratio": 0.2}
    found = ask(client, body(tiny_model, rows, num_train_epochs=2, **spec))
    assert (found.data.rows, found.data.eval_rows) == (32, 8)
    assert (found.steps.steps_per_epoch, found.steps.total_steps) == (4, 8)
    assert (found.steps.checkpoints, found.steps.evaluations, found.steps.warmup_steps) == (4, 3, 1)
    assert found.disk.kept == 3
    assert found.disk.total_bytes == 4 * found.disk.checkpoint_bytes + found.disk.final_bytes
    assert found.disk.free_bytes
    assert found.fits
    assert found.recommendation == ""
    assert found.level is Level.FORMULA


def test_packing_and_pretraining_make_full_sequences(
    client: TestClient, tiny_model: Path, rows: Path
) -> None:
    alone = ask(client, body(tiny_model, rows, max_length=256))
    packed = ask(client, body(tiny_model, rows, max_length=256, packing=True))
    assert packed.steps.steps_per_epoch < alone.steps.steps_per_epoch
    assert packed.data.padding_share == alone.data.padding_share_packed
    assert packed.data.tokens == alone.data.tokens
    texts = rows.with_name("texts.jsonl")
    texts.write_text("\n".join(json.dumps({"text": "The quick brown fox. " * 30}) for _ in range(20)))
    found = ask(
        client,
        body(tiny_model, texts, training_type="pretrain", use_lora=False, max_length=64, learning_rate=1e-4),
    )
    per_step = 2 * 4 * 64
    assert found.steps.steps_per_epoch == -(-found.data.tokens // per_step)
    assert found.data.tokens_lost == 0


def test_what_does_not_fit_is_said_with_a_cure_and_nothing_is_changed(
    client: TestClient, tiny_model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = body(tiny_model, rows, per_device_train_batch_size=128, gradient_checkpointing=False)
    roomy = ask(client, sent)
    names = {setting.name: setting for setting in roomy.settings}
    smaller = names["smaller micro-batch"]
    assert smaller.change == {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 256}
    between = (roomy.memory.peak + smaller.memory.peak) // 2
    real = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: real._replace(available=between))
    found = ask(client, sent)
    assert not found.fits
    assert found.memory == roomy.memory
    assert found.recommended == smaller.change
    assert "`per_device_train_batch_size=2`" in found.recommendation
    monkeypatch.setattr(psutil, "virtual_memory", lambda: real._replace(available=1))
    hopeless = ask(client, sent)
    assert hopeless.recommended == {}
    assert "smaller model" in hopeless.recommendation


@pytest.mark.parametrize("way", ["pretrain", "packed"])
def test_a_smaller_micro_batch_of_full_sequences_costs_no_more(
    client: TestClient, tiny_model: Path, tmp_path: Path, way: str
) -> None:
    """Documents are far longer than a sequence: alone in its batch a sequence stays as long as it is."""
    texts = tmp_path / "texts.jsonl"
    with texts.open("w") as stream:
        for number in range(6):
            text = "The quick brown fox jumps over the lazy dog. " * (400 + number)
            row = (
                {"text": text} if way == "pretrain"
                else {"messages": [{"role": "user", "content": "Say."}, {"role": "assistant", "content": text}]}
            )  # fmt: skip
            stream.write(json.dumps(row) + "\n")
    asked = (
        {"training_type": "pretrain", "use_lora": False, "learning_rate": 1e-4} if way == "pretrain"
        else {"packing": True}
    )  # fmt: skip
    sent = body(
        tiny_model,
        texts,
        max_length=128,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        **asked,
    )
    found = ask(client, sent)
    smaller = next(setting for setting in found.settings if setting.name == "smaller micro-batch")
    assert smaller.change == {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}
    # What a batch costs whatever is in it counts much in a model as small as this; 34 times as many tokens would more.
    assert 0.9 < smaller.seconds_per_step / found.time.seconds_per_step < 4
    alone = ask(client, sent | {"spec": sent["spec"] | smaller.change})
    assert alone.time.seconds_per_step == pytest.approx(smaller.seconds_per_step, rel=0.01)


def test_documents_that_would_see_each_other_are_counted_apart(
    client: TestClient, tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    """In such a model each is computed as a row: as many steps, other places, and what is said of it."""
    import shutil

    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"model_type": "opt"}))
    asked = {"packing": True, "max_length": 512, "per_device_train_batch_size": 1}
    packed, apart = (ask(client, body(model, rows, **asked)) for model in (tiny_model, other))
    assert (packed.data.is_unpacked, apart.data.is_unpacked) == (False, True)
    assert packed.steps == apart.steps
    assert packed.data.tokens == apart.data.tokens
    assert apart.data.padding_share > packed.data.padding_share


def test_the_final_model_is_an_adapter_a_whole_or_a_merged_one(
    client: TestClient, tiny_model: Path, rows: Path
) -> None:
    base = (tiny_model / "model.safetensors").stat().st_size
    lora = {"target_modules": ["all-linear"]}
    adapter = ask(client, body(tiny_model, rows, **lora)).disk
    merged = ask(client, body(tiny_model, rows, merge_lora_after_training=True, **lora)).disk
    whole = ask(client, body(tiny_model, rows, use_lora=False, learning_rate=1e-5)).disk
    assert [disk.final_kind for disk in (adapter, merged, whole)] == ["adapter", "merged", "full"]
    assert merged.final_bytes - adapter.final_bytes == base
    assert whole.final_bytes > base > adapter.final_bytes


def test_what_would_fit_is_offered_where_the_cluster_can_do_it(
    client: TestClient, tiny_model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith_platform.tasks import preflight

    sent = body(tiny_model, rows, use_lora=False, learning_rate=1e-5)
    named = {setting.name for setting in ask(client, sent).settings}
    assert {"8-bit optimizer", "smaller micro-batch", "LoRA", "QLoRA"} <= named
    missing = lambda module: module != "bitsandbytes"  # noqa: E731
    monkeypatch.setattr(preflight.check_fitness, "__defaults__", (missing,))
    named = {setting.name for setting in ask(client, sent).settings}
    assert not {"8-bit optimizer", "QLoRA"} & named
    assert "LoRA" in named


def test_the_speed_is_the_median_of_calibrations_and_says_its_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith_platform.estimates import speed
    from tunesmith_platform.hardware import hardware

    here, file = hardware(), tmp_path / "speed.json"
    moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    speeds = iter([10.0, 2.0, 12.0, 14.0, 16.0, 18.0, 20.0, 99.0])
    monkeypatch.setattr(speed, "_measure", lambda: next(speeds))
    monkeypatch.setattr(speed, "now", lambda: moment)

    def said() -> str:
        return speed.source_of(Compute(machine=here), "cpu", file)[0]

    assert speed.calibration(here, file).operations_per_second == 10
    assert "just now" in said()
    moment += dt.timedelta(hours=23)
    assert "23 h ago" in said(), "it is not measured again so soon"
    for _ in range(2):
        moment += dt.timedelta(days=1)
        found = speed.calibration(here, file)
    assert (found.operations_per_second, found.times) == (10, 3), "one beside a busy program counts little"
    assert "the median of 3" in said()
    monkeypatch.setenv("OMP_NUM_THREADS", "77")
    assert speed.calibration(here, file) == (14, moment, 1), "other threads are another machine"
    file.write_text('{"machine": "as it was kept before", "operations_per_second": 5}')
    assert speed.calibration(here, file).operations_per_second == 16


def test_what_ran_out_of_memory_is_told_what_takes_less(
    plane: Plane, client: TestClient, tiny_model: Path, rows: Path
) -> None:
    from tunesmith_platform.db.tables import TaskRow

    spec = {"per_device_train_batch_size": 64, "gradient_checkpointing": False, "use_lora": False}
    made = client.post("/v1/tasks", json=body(tiny_model, rows, learning_rate=1e-5, **spec)).json()
    with plane.services.database.write() as session:
        row = session.get(TaskRow, made["id"])
        assert row is not None
        row.state, row.reason = "failed", "out_of_memory"
    said = client.get(f"/v1/tasks/{made['id']}/autopsy").json()["next_step"]
    for words in ("By the estimate it took about", "smaller micro-batch", "gradient checkpointing"):
        assert words in said
    assert "`gradient_accumulation_steps=" in said


def test_bad_input_has_its_place(client: TestClient, tiny_model: Path, rows: Path) -> None:
    reply = client.post("/v1/tasks:estimate", json=body(tiny_model, rows, target_modules="nothing"))
    assert (reply.status_code, error_of(reply).problems[0].field) == (
        422,
        "spec.target_modules: target_modules",
    )
    reply = client.post("/v1/tasks:estimate", json=body(tiny_model, rows, max_length=8))
    assert (reply.status_code, error_of(reply).code) == (422, "invalid_data")
    assert client.get("/v1/estimates/measure-0").status_code == 404


def test_a_large_file_is_answered_by_a_sample_then_exactly(
    plane: Plane, tiny_model: Path, tmp_path: Path
) -> None:
    source = CountSource(
        write(tmp_path / "large.jsonl", 700),
        tiny_model,
        TrainSpec.read({"model_name_or_path": "m", "train_file": "/t"}),
    )
    sample, whole = count_sample(source), count_all(source)
    assert sample.is_sample
    assert (sample.rows, len(sample.lengths)) == (700, SAMPLE_ROWS)
    assert sample.lengths.mean() == pytest.approx(whole.lengths.mean(), rel=0.05)
    counter = Counter(tmp_path / "counts")
    assert counter.counts(source).is_sample
    assert counter._busy is not None
    counter._busy.join(120)
    exact = counter.counts(source)
    assert not exact.is_sample
    assert exact.lengths.tolist() == whole.lengths.tolist()
    again = Counter(tmp_path / "counts").counts(source)
    assert again.after(64).supervised == whole.after(64).supervised


def test_counts_that_are_broken_are_counted_again(tmp_path: Path, tiny_model: Path, rows: Path) -> None:
    source = CountSource(rows, tiny_model, TrainSpec.read({"model_name_or_path": "m", "train_file": "/t"}))
    Counter(tmp_path / "c").counts(source)
    (kept,) = (tmp_path / "c").glob("*.npz")
    kept.write_bytes(b"PK")
    assert len(Counter(tmp_path / "c").counts(source).lengths) == 40
    assert len(Counts.load(kept).lengths) == 40


# --- measured


def leave(plane: Plane, found: EstimateView, **result: Any) -> None:
    """End the job as the probe does."""
    assert found.measurement is not None
    folder = plane.home.files / "estimates" / found.measurement.id
    (folder / RESULT).write_text(ProbeResult(**result).model_dump_json())
    plane.jobs.jobs[f"{found.measurement.id}-1"] = JobStatus.SUCCEEDED


def poll(client: TestClient, found: EstimateView, status: int = 200) -> EstimateView:
    assert found.measurement is not None
    reply = client.get(f"/v1/estimates/{found.measurement.id}")
    assert reply.status_code == status, reply.text
    return EstimateView.model_validate(reply.json())


def test_a_measurement_is_made_once_for_all_that_would_measure_the_same(
    plane: Plane, client: TestClient, tiny_model: Path, rows: Path
) -> None:
    sent = body(tiny_model, rows)
    started = ask(client, sent, 202, measure=True)
    assert started.measurement is not None
    assert started.measurement.state is MeasurementState.MEASURING
    job = f"{started.measurement.id}-1"
    assert plane.jobs.programs[job] == PROGRAM
    document = ProbeDocument.model_validate_json(Path(plane.jobs.documents[job]).read_text())
    assert (document.train_path, document.model_path) == (str(rows), str(tiny_model))
    assert ask(client, sent, 202, measure=True).measurement == started.measurement, "one job"
    assert poll(client, started, 202).level is Level.FORMULA
    leave(plane, started, peak_bytes=900_000_000, seconds_per_step=0.5, longest_step_seconds=0.7, steps=7)
    done = poll(client, started)
    assert done.level is Level.MEASURED
    assert done.memory.peak == 900_000_000
    assert done.time.seconds_per_step == 0.5
    assert not (plane.home.files / "estimates" / started.measurement.id).exists(), "it is cleaned up"
    # What matters to neither memory nor time is measured already; what matters is not.
    assert ask(client, body(tiny_model, rows, learning_rate=1e-3)).level is Level.MEASURED
    assert ask(client, body(tiny_model, rows, learning_rate=1e-3), measure=True).level is Level.MEASURED
    assert ask(client, body(tiny_model, rows, per_device_train_batch_size=1)).level is Level.FORMULA
    write(rows, 41)
    assert ask(client, sent).level is Level.FORMULA, "other rows"


def test_one_measurement_at_a_time_and_none_beside_a_task(
    plane: Plane, client: TestClient, tiny_model: Path, rows: Path
) -> None:
    first = ask(client, body(tiny_model, rows), 202, measure=True)
    other = body(tiny_model, rows, max_length=64)
    reply = client.post("/v1/tasks:estimate", json=other, params={"measure": True})
    assert (reply.status_code, error_of(reply).code) == (409, "conflict")
    leave(plane, first, error="It ran out of memory: this setting does not fit.")
    second = ask(client, other, 202, measure=True)  # the first is over, though nobody asked
    failed = poll(client, first)
    assert failed.measurement is not None
    assert failed.measurement.state is MeasurementState.FAILED
    assert "out of memory" in failed.measurement.message
    leave(plane, second, peak_bytes=1, seconds_per_step=1.0)
    poll(client, second)
    plane.running()
    reply = client.post("/v1/tasks:estimate", json=body(tiny_model, rows, r=8), params={"measure": True})
    assert "A task is running" in error_of(reply).message


@pytest.mark.parametrize("how", ["dies", "hangs", "never starts"])
def test_a_measurement_that_leaves_nothing_ends(
    plane: Plane, client: TestClient, tiny_model: Path, rows: Path, how: str
) -> None:
    sent = body(tiny_model, rows)
    if how == "never starts":
        plane.jobs.is_away = True
        reply = client.post("/v1/tasks:estimate", json=sent, params={"measure": True})
        assert reply.status_code == 503
        plane.jobs.is_away = False
        assert ask(client, sent, 202, measure=True).measurement, "nothing is left behind"
        return
    started = ask(client, sent, 202, measure=True)
    assert started.measurement is not None
    job = f"{started.measurement.id}-1"
    plane.jobs.jobs[job] = JobStatus.FAILED if how == "dies" else JobStatus.RUNNING
    if how == "hangs":
        with plane.services.database.write() as session:
            row = session.get_one(MeasurementRow, started.measurement.id)
            row.created_at -= measure.LIMIT + dt.timedelta(minutes=5)
    failed = poll(client, started)
    assert failed.measurement is not None
    assert failed.measurement.state is MeasurementState.FAILED
    assert failed.measurement.message
    assert (job in plane.jobs.kills) == (how == "hangs")
    assert ask(client, sent, 202, measure=True).measurement != failed.measurement, "it may be tried again"
