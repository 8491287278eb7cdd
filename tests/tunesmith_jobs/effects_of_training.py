"""Where the effect of a training's parameter is seen, for `test_parameter_effects`: on what is built of it."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from effects_place import CPU, NODES, ROWS, STEPS, Place, Shows
from fake_plane import make_document
from transformers import TrainerControl, TrainerState

from tunesmith.planning import plan_steps
from tunesmith.rows.order import RowOrder
from tunesmith.spec.training import TrainSpec
from tunesmith.state_of import StateOf
from tunesmith.zero import zero_config
from tunesmith_jobs.batches.inputs import Data, load_data
from tunesmith_jobs.cluster import resources_of
from tunesmith_jobs.models import build
from tunesmith_jobs.models.precision import choose
from tunesmith_jobs.outlet import Silent
from tunesmith_jobs.placement import scaling_config
from tunesmith_jobs.train.program import Training
from tunesmith_jobs.train.run import callbacks
from tunesmith_jobs.train.run.arguments import trainer_arguments
from tunesmith_jobs.train.run.callbacks import RunCallback
from tunesmith_jobs.train.run.interruption import Notices
from tunesmith_jobs.train.run.plan import Plan
from tunesmith_jobs.train.run.state import RunState
from tunesmith_jobs.train.run.trainer import TuneTrainer
from tunesmith_jobs.train.telemetry.trackers import Run, Tee, Wandb


def argument(name: str) -> Shows:
    """What the library is told."""

    def shows(spec: TrainSpec, place: Place) -> Any:
        made = trainer_arguments(spec, place.folder, CPU, 100, evaluates=True)
        return made.values.get(name)

    return shows


def planned(name: str) -> Shows:
    """What the trainer, the estimate and the quota count with."""
    return lambda spec, _: getattr(plan_steps(spec, 100), name)


def chosen(name: str, flags: str = "fpu") -> Shows:
    """Device, precision and attention as they are picked on a processor with some flags and no GPU."""

    def shows(spec: TrainSpec, place: Place) -> Any:
        info = place.folder / "cpuinfo"
        info.write_text(f"flags : {flags}\n")
        choice = choose(spec, info)
        return [one.code for one in choice.warnings] if name == "warnings" else getattr(choice, name)

    return shows


def data(look: Callable[[Data], Any], file: str = "talks.jsonl") -> Shows:
    """The rows as they are trained on."""

    def shows(spec: TrainSpec, place: Place) -> Any:
        tokenizer = Path(spec.tokenizer_name_or_path) if spec.tokenizer_name_or_path else None
        evaluation = Path(spec.eval_file) if spec.eval_file else None
        return look(load_data(spec, place.model, place.folder / file, evaluation, tokenizer))

    return shows


def text(found: Data) -> str:
    """What the first row says, as the tiny tokenizer reads it."""
    row = found.rows[0]
    return " ".join(map(str, row.input_ids.tolist()))


def adapter(look: Callable[[Any, Any], Any]) -> Shows:
    """What is trained: of the model, and of its LoRA's configuration."""

    def shows(spec: TrainSpec, place: Place) -> Any:
        model = build.load(place.model, spec, CPU)
        return look(model, next(iter(getattr(model, "peft_config", {None: None}).values())))

    return shows


def configured(name: str) -> Shows:
    return adapter(lambda _, config: getattr(config, name))


def trained(model: Any, _: Any) -> list[str]:
    """The last parts of the names of what is trained."""
    return sorted(
        {name.rpartition(".layers.")[2] for name, one in model.named_parameters() if one.requires_grad}
    )


def quantized(name: str) -> Shows:
    """How the base is to be held, as whoever loads it is told; None where it is not quantised."""

    def shows(spec: TrainSpec, place: Place) -> Any:
        told: list[Any] = []

        def load_base(_: Path, __: Any, options: dict[str, Any]) -> Any:
            told.append(options.get("quantization_config"))
            raise Seen

        place.patch.setattr(build, "load_base", load_base)
        with pytest.raises(Seen):
            build.load(place.model, spec, CPU)
        return told[0] and getattr(told[0], name)

    return shows


class Seen(Exception):
    """What was to be seen has been seen."""


def worker(name: str) -> Shows:
    """What a worker needs, and what Ray is told of that."""

    def shows(spec: TrainSpec, place: Place) -> Any:
        document = make_document(place.folder, "", spec=spec.model_dump(mode="json"))
        needs = Training().needs(document)
        if name == "reserves":
            return resources_of(needs, False, NODES)
        if name in ("num_workers", "placement_strategy"):
            return getattr(scaling_config(needs, False, NODES), name)
        return getattr(needs, name)

    return shows


class _Asked:
    """The actions of a Trainer that is not there; measures what it is told to."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


LOSSES = {2: 3.0, 4: 2.0, 6: 1.996, 8: 1.0}
"""What the evaluation after each second step measures."""


def due(*names: str, minutes_a_step: float = 0.0) -> Shows:
    """The steps after which the callback wants one of some things, in a run of eight steps that computes nothing."""

    def shows(spec: TrainSpec, place: Place) -> list[int]:
        import torch

        clock = [0.0]
        place.patch.setattr(callbacks.time, "perf_counter", lambda: clock[0])
        run = RunState(
            Plan(spec, StateOf.of(spec), STEPS, STEPS // 2, evaluates=spec.eval_strategy != "no"),
            Silent(),
            Notices(),
            torch.device("cpu"),
            1,
            True,
        )
        callback, state, control = RunCallback(run, _Asked()), TrainerState(), TrainerControl()  # type: ignore[arg-type]
        callback.on_train_begin(None, state, control)
        found: list[int] = []
        for step in range(1, STEPS + 1):
            clock[0] += minutes_a_step * 60
            state.global_step = step
            control.should_save = control.should_evaluate = control.should_log = False
            callback.on_step_end(None, state, control)
            if control.should_evaluate:
                loss = LOSSES.get(step, 3.0)
                callback.on_evaluate(None, state, control, {"eval_loss": loss, "eval_perplexity": -loss})
            if control.should_save:
                callback.on_save(None, state, control)
            if any(getattr(control, f"should_{name}") for name in names):
                found.append(step)
            if control.should_training_stop:
                break
        return found

    return shows


def loader(name: str) -> Shows:
    """How batches reach the model: the library's loader, made as the Trainer makes it."""

    def shows(spec: TrainSpec, _: Place) -> Any:
        trainer: Any = object.__new__(TuneTrainer)
        trainer.run = SimpleNamespace(plan=SimpleNamespace(spec=spec))
        trainer.args = SimpleNamespace(device=SimpleNamespace(type="cuda"))
        trainer._data, trainer.order, trainer._collator = SimpleNamespace(rows=[1, 2]), [[0], [1]], None
        return getattr(trainer.get_train_dataloader(), name)

    return shows


def order(spec: TrainSpec, place: Place) -> bool:
    """Whether the second epoch has the order of the first, in what a task's page reads."""
    from tunesmith_jobs.train.run import facts

    kept: list[bytes] = []

    class Store:
        def write(self, _: str, content: bytes, *__: Any) -> None:
            kept.append(content)

        def __getattr__(self, _: str) -> Any:
            return lambda __, content, *___: kept.append(content)

    facts.write_order(Store(), spec, load_data(spec, place.model, Path(spec.train_file), None, None))  # type: ignore[arg-type]
    found = RowOrder.decode(kept[0])
    assert found is not None
    per_epoch = found.steps_per_epoch
    first = [found.rows_of(step)[1] for step in range(1, per_epoch + 1)]
    return first == [found.rows_of(step)[1] for step in range(per_epoch + 1, 2 * per_epoch + 1)]


def tracked(name: str) -> Shows:
    """What Weights & Biases is told."""

    def shows(spec: TrainSpec, place: Place) -> Any:
        import wandb

        told: list[Any] = []
        place.patch.setattr(wandb, "init", lambda **options: told.append(options))
        Wandb(Run(spec, "task-1", "run", str(place.folder), place.folder)).start(0, {})
        return told[0][name]

    return shows


def sinks(spec: TrainSpec, place: Place) -> list[str]:
    """Where else it is reported to."""
    return sorted(Tee(Silent(), Run(spec, "task-1", "run", str(place.folder), place.folder))._sinks)


def zero(look: Callable[[dict[str, Any]], Any]) -> Shows:
    """What DeepSpeed is told; it is not needed for that."""
    return lambda spec, place: look(zero_config(spec, place.folder))


def level(spec: TrainSpec, place: Place) -> str:
    return Training().log_level(make_document(place.folder, "", spec=spec.model_dump(mode="json")))


def taken(name: str) -> Shows:
    """What a submit finds of it: the file's or folder's name."""

    def shows(spec: TrainSpec, place: Place) -> Any:
        from tunesmith_platform.settings import Settings
        from tunesmith_platform.tasks.inputs import check_train_inputs

        settings = Settings(home=place.folder / "home", allowed_roots=[place.folder, place.model.parent])
        found = getattr(check_train_inputs(spec, settings, with_rows=False), name)
        return found and Path(found).name

    return shows


def start(spec: TrainSpec, place: Place) -> int | None:
    """The step of another task's checkpoint that a run without one of its own begins with."""
    from tunesmith_jobs.train.checkpoint import resume

    place.patch.setattr(resume, "fetch_checkpoint", lambda uri, _: (7, Path(uri)))
    place.patch.setattr(resume, "faults_in", lambda *_: [])
    model = build.load(place.model, spec, CPU)
    own: Any = SimpleNamespace(newest=lambda *_: None)
    found = resume.find_state(
        own, spec, place.folder / "scratch", print, model=model, state_of=StateOf.of(spec)
    )
    return found and found.step


def trainer_of(spec: TrainSpec, place: Place) -> TuneTrainer:
    """The trainer as a run makes it."""
    import torch
    from transformers import TrainingArguments

    found = load_data(spec, place.model, place.folder / "talks.jsonl", None, None)
    values = trainer_arguments(spec, place.folder / "scratch", CPU, ROWS, evaluates=True).values
    settings = TrainingArguments(**values)
    plan = Plan(spec, StateOf.of(spec), STEPS, STEPS // 2, evaluates=True)
    run = RunState(plan, Silent(), Notices(), torch.device("cpu"), 1, True)
    uploader: Any = None
    model = build.load(place.model, spec, CPU)
    return TuneTrainer(model, settings, run=run, data=found, pad_id=0, uploader=uploader)


def without_memory(spec: TrainSpec, place: Place) -> str:
    """What becomes of a batch that does not fit into memory."""
    import torch

    trainer: Any = trainer_of(spec, place)

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    trainer._forward_and_backward = full
    with pytest.raises(Exception) as raised:  # noqa: PT011  (which one is what is looked at)
        trainer.training_step(trainer.model, {}, None)
    return type(raised.value).__name__


def evaluated(spec: TrainSpec, place: Place) -> list[int]:
    """How many rows are evaluated at once."""
    trainer: Any = trainer_of(spec, place)
    told: list[int] = []

    def look(_: Any, batches: list[list[int]]) -> Any:
        told.extend(map(len, batches))
        raise Seen

    trainer._loader = look
    with pytest.raises(Seen):
        trainer.evaluate()
    return told


def sampled(spec: TrainSpec, place: Place) -> list[tuple[str, int]]:
    """The prompts that a model answers while it trains, each with the tokens of its answer at most."""
    import contextlib

    from tunesmith_jobs.train.run.samples import SamplePrompts

    trainer: Any = trainer_of(spec, place)
    samples, made = SamplePrompts(spec, place.model, None), []
    if samples.is_due(4):
        trainer.model.generate = lambda input_ids, generation_config, **_: made.append(
            generation_config.max_new_tokens
        ) or input_ids  # fmt: skip
        said = samples.answer(trainer.model, 4, contextlib.nullcontext(), lambda: False)
        return [(answer.prompt, made[0]) for answer in said.answers]
    return []


def kept(spec: TrainSpec, place: Place) -> list[int]:
    """The checkpoints that are left of three."""
    from tunesmith_jobs.artifact_store import ArtifactStore, Owner
    from tunesmith_jobs.train import steps

    root = place.folder / f"kept-{spec.save_total_limit}" / "task-1"
    store = ArtifactStore(str(root / "artifacts"), Owner("task-1", 1, "m", None))
    job: Any = SimpleNamespace(outlet=Silent(), spec=spec, emit=lambda _: None)
    uploader = steps._uploader(job, store)
    for step in (1, 2, 3):
        folder = root / f"local-{step}"
        folder.mkdir(parents=True)
        (folder / "weights").write_text(str(step))
        uploader.submit(step, folder, {})
    uploader.close()
    return sorted(store.steps())


def final(spec: TrainSpec, place: Place) -> list[str]:
    """The weights in the final model's folder."""
    from tunesmith_jobs.models import merge

    target = place.folder / f"final-{spec.merge_lora_after_training}"
    merge.lay_out_final(place.folder / "first", place.model, target, title="run", spec=spec)
    return sorted(path.relative_to(target).as_posix() for path in target.rglob("*.safetensors"))
