"""What changes when a parameter's value changes: one case for each parameter of each kind, against the real code.

Most look at what is built (the library's arguments, the adapter, the encoded rows, what is due after a step), not at a
run. A parameter with no case fails, unless it stands in `NOT_YET`; that list only becomes shorter.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import effects_of_results as results
import pytest
from fake_plane import make_document
from training_run import write_lines
from transformers import TrainerControl, TrainerState

from tunesmith.errors import InvalidInput
from tunesmith.job import AttemptDocument
from tunesmith.model_step import ModelDocument
from tunesmith.planning import plan_steps
from tunesmith.rows.order import RowOrder
from tunesmith.spec.checkpoint_scores import best_by_score, evaluation_of
from tunesmith.spec.dataset import read_operation
from tunesmith.spec.generate import GenerateSpec
from tunesmith.spec.kinds import kind_of, kinds
from tunesmith.spec.training import TrainSpec
from tunesmith.state_of import StateOf
from tunesmith.zero import zero_config
from tunesmith_jobs.batches.inputs import Data, load_data
from tunesmith_jobs.cluster import resources_of
from tunesmith_jobs.model_work import Work
from tunesmith_jobs.models import adapters, build
from tunesmith_jobs.models.precision import Choice, choose
from tunesmith_jobs.outlet import Silent
from tunesmith_jobs.package.files import orders
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

CPU = Choice("cpu", "fp32", "")
GPU = Choice("cuda", "bf16", "")
NODES = [{"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}]
ROWS = 16
TEMPLATE = "{% for message in messages %}{{ message['content'] }} {{ eos_token }}{% endfor %}"
STEPS = 8


class Place(NamedTuple):
    """What the cases work on."""

    folder: Path
    model: Path
    patch: pytest.MonkeyPatch


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, model: Path) -> tuple[Path, Path]:
    """Rows of every shape beside each other, adapters of the tiny model, another tokenizer's folder."""
    folder = tmp_path_factory.mktemp("files")
    talks = [
        {
            "messages": [
                {"role": "user", "content": f"What is {i} plus {i}?"},
                {"role": "assistant", "content": f"It is {i + i}, of course."},
            ],
            "text": f"{i} and {i} are {i + i}. " * 3,
            "other": "Something else.",
            "question": f"How many are {i}?",
            "reply": f"Exactly {i}.",
            "rules": "Be brief.",
            "label": "odd" if i % 2 else "even",
            "half": "low" if i < ROWS // 2 else "high",
        }
        for i in range(ROWS)
    ]
    write_lines(folder / "talks.jsonl", talks)
    plain = [{name: value for name, value in row.items() if name != "messages"} for row in talks]
    write_lines(folder / "plain.jsonl", plain)
    write_lines(folder / "bad.jsonl", [*talks, {"messages": "none"}])
    (folder / "lora.json").write_text(json.dumps({"r": 3, "target_modules": ["q_proj"]}))
    (folder / "zero.json").write_text(json.dumps({"zero_optimization": {"stage": 1}}))
    base = build.load_base(model, None, {})
    for name, rank in (("first", 2), ("second", 5)):
        spec = TrainSpec.read(given(folder, model) | {"r": rank})
        adapters.add_lora(base, spec, adapters.linear_names(base)).save_pretrained(folder / name)
        base = build.load_base(model, None, {})
    shutil.copytree(model, folder / "tokenizer")
    (folder / "tokenizer" / "chat_template.jinja").write_text(TEMPLATE)
    return folder, model


@pytest.fixture
def place(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    return Place(*files, monkeypatch)


def given(folder: Path, model: Path) -> dict[str, Any]:
    return {
        "model_name_or_path": str(model),
        "train_file": str(folder / "talks.jsonl"),
        "target_modules": ["all-linear"],
        "gradient_checkpointing": False,
    }


# --- where the effect is seen


Shows = Callable[[TrainSpec, Place], Any]


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
            raise _Seen

        place.patch.setattr(build, "load_base", load_base)
        with pytest.raises(_Seen):
            build.load(place.model, spec, CPU)
        return told[0] and getattr(told[0], name)

    return shows


class _Seen(Exception):
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
        raise _Seen

    trainer._loader = look
    with pytest.raises(_Seen):
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


# --- of the other kinds


def generation(place: Place, spec: GenerateSpec) -> Work:
    """An attempt that answers with the tiny model."""
    out = place.folder / f"answers-{len(list(place.folder.glob('answers-*')))}"
    out.mkdir()
    training = spec.as_training({}, base=str(place.model), adapter=None, data="-")
    values = make_document(out, "").model_dump(mode="json", include=set(AttemptDocument.model_fields))
    document = ModelDocument.model_validate(values | {
        "kind": "generate", "spec": spec.model_dump(mode="json"), "model_uri": str(place.model),
        "training": training.model_dump(mode="json"), "encoder_path": str(place.model), "data_path": spec.dataset,
        "rows_dir": str(out / "task-1" / "rows"),
    })  # fmt: skip
    return Work(document, Silent(), out / "scratch")


def asked(spec: GenerateSpec, place: Place) -> list[str]:
    """What the model is asked first."""
    from tunesmith_jobs.generate import answering

    first = next(answering._talks(generation(place, spec), spec))
    return [f"{turn.role}: {turn.content}" for turn in first.left]


def answered(look: Callable[[list[Any]], Any]) -> Shows:
    """The answers that are made, as they are written."""

    def shows(spec: Any, place: Place) -> Any:
        from tunesmith_jobs.generate import answering

        work = generation(place, spec)
        assert answering.generate(work, spec).reason == "completed"
        assert work.document.rows_dir is not None
        file = Path(work.document.rows_dir) / "data.jsonl"
        return look([json.loads(line) for line in file.read_text().splitlines()])

    return shows


def drawn(name: str) -> Shows:
    """How the library is told to draw tokens, and how many conversations it is given at once."""

    def shows(spec: Any, place: Place) -> Any:
        from tunesmith_jobs.generate import answering

        told: list[Any] = []

        def answer(self: Any, talks: Any) -> None:
            told.append(len(talks) if name == "at once" else getattr(self._settings, name))
            raise _Seen

        place.patch.setattr(answering.Answerer, "answer", answer)
        with pytest.raises(_Seen):
            answering.generate(generation(place, spec), spec)
        return told[0]

    return shows


def as_training(name: str) -> Shows:
    """The training that loads the model and writes its rows."""
    return lambda spec, place: getattr(
        spec.as_training({}, base=str(place.model), adapter=None, data="-"), name
    )


def engine_of(name: str) -> Shows:
    """What the engine of a served model is made with, where two processors are reserved."""

    def shows(spec: Any, place: Place) -> Any:
        from attempts import chat_document

        from tunesmith_serve.replica import engine_settings

        document = chat_document(place.folder).model_copy(update={"spec": spec.model_dump(mode="json")})
        return getattr(engine_settings(document, 2.0, False, place.folder / "engine"), name)

    return shows


def deployed(look: Callable[[dict[str, Any]], Any]) -> Shows:
    """How Ray Serve is told to run a served model."""

    def shows(spec: Any, place: Place) -> Any:
        from tunesmith_serve.application import deployment_options
        from tunesmith_serve.program import reserved

        training = spec.as_training({}, base=str(place.model), adapter=None, data="-")
        needs = reserved(spec, training, use_gpu=True)
        return look(deployment_options(spec, resources_of(needs, False, NODES)))

    return shows


def made_rows(spec: Any, place: Place) -> dict[str, int]:
    """How many rows an operation on data leaves in each of its files."""
    from tunesmith_jobs.data.meter import Meter
    from tunesmith_jobs.data.operations import run

    folder = place.folder / f"rows-{len(list(place.folder.glob('rows-*')))}"
    parameters = {name: filled(value, place.folder) for name, value in spec.parameters.items()}
    operation = read_operation(spec.operation, parameters)
    made = run(operation, folder / "task-1" / "rows", Meter(lambda *_: None), "task-1")
    return {name: one.rows for name, one in made.items()}


# --- the cases


@dataclass(frozen=True)
class Case:
    """A parameter's effect: what is seen with its other value and, of `before`, without it.

    `value`, and what is given with it, may hold `{folder}`, which stands for the folder of the files.
    """

    value: Any
    shows: Shows
    after: Any
    given: dict[str, Any] = field(default_factory=dict)
    before: Any = ...


REFUSED = InvalidInput
LORA_OFF = {"use_lora": False}


def scoring(name: str) -> Shows:
    """A parameter of the evaluation that a checkpoint gets."""
    return lambda spec, _: evaluation_of(spec, "task-1", 4).get(name)


EVALUATES = {"eval_strategy": "steps", "eval_steps": 2, "eval_sampling_ratio": 0.25}
PLAIN = {"train_file": "{folder}/plain.jsonl"}
ASKED = {"prompt_column": "question", "response_column": "reply"}
CLASSES = {"training_type": "classification", "text_column": "text"}
BEST = EVALUATES | {"save_strategy": "best"}
SCORED = {"evaluate_checkpoints": True}

CASES: dict[str, Case] = {
    # what to train, and where
    "training_type": Case("pretrain", data(lambda one: type(one.rows).__name__), "BlockRows", before="Rows"),
    "device": Case("gpu", chosen("device"), REFUSED, before="cpu"),
    "eval_file": Case("{folder}/talks.jsonl", data(lambda one: one.eval_examples), ROWS, before=0),
    "tokenizer_name_or_path": Case(
        "{folder}/tokenizer", data(lambda one: "content'] }} {{ eos" in str(one.chosen_template)), True
    ),
    "attach_lora": Case(True, configured("r"), REFUSED, before=16),
    "attach_lora_path": Case("{folder}/second", configured("r"), 5, before=16),
    "max_samples": Case(5, data(lambda one: len(one.rows)), 5, before=ROWS),
    "allowed_bad_percent": Case(50, data(lambda one: one.loaded.skipped, "bad.jsonl"), 1, before=REFUSED),
    "eval_sampling_ratio": Case(0.25, data(lambda one: (one.examples, one.eval_examples)), (12, 4)),
    "reshuffle_each_epoch": Case(True, order, False, before=True),
    "dataloader_num_workers": Case(3, loader("num_workers"), 3, before=1),
    "dataloader_pin_memory": Case(True, loader("pin_memory"), True, before=False),
    "text_column": Case("other", data(text, "plain.jsonl"), ..., {"training_type": "pretrain"}),
    "prompt_column": Case("rules", data(text, "plain.jsonl"), ..., ASKED),
    "response_column": Case("rules", data(text, "plain.jsonl"), ..., ASKED),
    "system_column": Case("rules", data(text, "plain.jsonl"), ..., ASKED),
    "label_column": Case(
        "half", data(lambda one: one.classes), ("high", "low"), CLASSES, before=("even", "odd")
    ),
    "chat_template": Case("{folder}/tokenizer/chat_template.jinja", data(text), ...),
    "assistant_only_loss": Case(False, data(lambda one: one.rows.supervised), ...),
    # steps
    "per_device_train_batch_size": Case(5, argument("per_device_train_batch_size"), 5, before=2),
    "gradient_accumulation_steps": Case(3, argument("gradient_accumulation_steps"), 3, before=4),
    "max_length": Case(24, data(lambda one: max(one.rows.lengths) <= 24), True, before=False),
    "learning_rate": Case(3e-3, argument("learning_rate"), 3e-3, before=2e-4),
    "optim": Case("adafactor", argument("optim"), "adafactor"),
    "lr_scheduler_type": Case("linear", argument("lr_scheduler_type"), "linear", before="cosine"),
    "num_train_epochs": Case(5, argument("max_steps"), 65, before=26),
    "max_steps": Case(7, argument("max_steps"), 7, before=26),
    "packing": Case(True, data(lambda one: type(one.rows).__name__), "PackedRows", before="Rows"),
    "weight_decay": Case(0.5, argument("weight_decay"), 0.5, before=0.01),
    "warmup_ratio": Case(0.5, argument("warmup_steps"), 13, before=3),
    "warmup_steps": Case(9, argument("warmup_steps"), 9, before=3),
    "max_grad_norm": Case(0.25, argument("max_grad_norm"), 0.25, before=1.0),
    "num_cycles": Case(
        3,
        argument("lr_scheduler_kwargs"),
        {"num_cycles": 3},
        {"lr_scheduler_type": "cosine_with_restarts"},
        {"num_cycles": 2},
    ),
    "min_lr": Case(
        1e-5,
        argument("lr_scheduler_kwargs"),
        {"min_lr": 1e-5},
        {"lr_scheduler_type": "cosine_with_min_lr"},
        {"min_lr": 0.0},
    ),
    "num_decay_steps": Case(
        6,
        argument("lr_scheduler_kwargs"),
        {"num_decay_steps": 6, "min_lr_ratio": 0.0},
        {"lr_scheduler_type": "warmup_stable_decay"},
    ),
    # what is due when
    "save_strategy": Case("epoch", due("save"), [4, 8], {"save_steps": 3}, [3, 6, 8]),
    "save_steps": Case(2, due("save"), [2, 4, 6, 8], {"save_strategy": "steps"}, [8]),
    "save_interval_minutes": Case(2, due("save", minutes_a_step=1), [2, 4, 6, 8], {"save_steps": 100}, [8]),
    "eval_strategy": Case(
        "epoch", due("evaluate"), [4, 8], {"eval_sampling_ratio": 0.25, "eval_steps": 2}, []
    ),
    "eval_steps": Case(
        3, due("evaluate"), [3, 6, 8], {"eval_strategy": "steps", "eval_sampling_ratio": 0.25}, [8]
    ),
    # what the platform makes of it: an evaluation of each checkpoint
    "evaluate_checkpoints": Case(
        True, lambda spec, _: best_by_score(spec.model_dump()), "composite", before=None
    ),
    "evaluation_sample_file": Case("default", scoring("sample_file"), "default", SCORED, None),
    "evaluation_max_samples": Case(9, scoring("max_samples"), 9, SCORED, 128),
    "evaluation_max_new_tokens": Case(7, scoring("max_new_tokens"), 7, SCORED, 256),
    "metric_for_best_model": Case("eval_perplexity", due("save"), [2, 8], BEST, [2, 4, 6, 8]),
    "early_stopping_patience": Case(1, due("training_stop"), [6], EVALUATES, [8]),
    "early_stopping_threshold": Case(
        0.001, due("training_stop"), [8], EVALUATES | {"early_stopping_patience": 1}, [6]
    ),
    "logging_steps": Case(3, due("log"), [3, 6, 8], before=[8]),
    # the adapter, and how its base is held
    "use_lora": Case(False, adapter(lambda model, _: hasattr(model, "peft_config")), False, before=True),
    "r": Case(5, configured("r"), 5, before=16),
    "lora_alpha": Case(7, configured("lora_alpha"), 7, before=16),
    "lora_dropout": Case(0.25, configured("lora_dropout"), 0.25, before=0.0),
    "target_modules": Case(["v_proj"], configured("target_modules"), {"v_proj"}),
    "bias": Case("lora_only", configured("bias"), "lora_only", before="none"),
    "use_rslora": Case(True, configured("use_rslora"), True, before=False),
    "use_dora": Case(True, adapter(lambda *one: "magnitude" in str(trained(*one))), True, before=False),
    "peft_config_path": Case("{folder}/lora.json", configured("r"), 3, before=16),
    "precision": Case("fp32", chosen("precision", "amx_bf16"), "fp32", before="bf16"),
    "bf16": Case(True, chosen("precision"), REFUSED, before="fp32"),
    "fp16": Case(True, chosen("precision"), REFUSED, before="fp32"),
    "tf32": Case(True, chosen("warnings"), ["tf32_unavailable"], before=[]),
    "gradient_checkpointing": Case(True, argument("activation_checkpointing"), True, before=False),
    "load_in_4bit": Case(True, quantized("load_in_4bit"), True, before=None),
    "load_in_8bit": Case(True, quantized("load_in_8bit"), True, before=None),
    "bnb_4bit_quant_type": Case(
        "fp4", quantized("bnb_4bit_quant_type"), "fp4", {"load_in_4bit": True}, "nf4"
    ),
    "bnb_4bit_compute_dtype": Case(
        "float16",
        lambda *one: str(quantized("bnb_4bit_compute_dtype")(*one)),
        "torch.float16",
        {"load_in_4bit": True},
    ),
    "bnb_4bit_use_double_quant": Case(
        False, quantized("bnb_4bit_use_double_quant"), False, {"load_in_4bit": True}, True
    ),
    "use_8bit_optimizer": Case(True, argument("optim"), "adamw_8bit"),
    "attn_implementation": Case("eager", chosen("attention"), "eager", before="sdpa"),
    "torch_compile": Case(True, argument("torch_compile"), True, before=False),
    # workers
    "num_workers": Case(2, worker("num_workers"), 2, before=1),
    "resources_per_worker": Case({"CPU": 3}, worker("reserves"), {"CPU": 3}, before={"CPU": 8.0}),
    "placement": Case("spread", worker("placement_strategy"), "SPREAD", before="PACK"),
    "max_restarts": Case(1, worker("restarts"), 1, before=3),
    "deepspeed_stage": Case(
        2, zero(lambda config: config["zero_optimization"]["stage"]), 2, {"deepspeed_stage": 1}, 1
    ),
    "deepspeed_offload": Case(
        "optimizer_cpu",
        zero(lambda config: "offload_optimizer" in config["zero_optimization"]),
        True,
        {"deepspeed_stage": 2},
        False,
    ),
    "deepspeed": Case("{folder}/zero.json", worker("is_group"), True, before=False),
    # reports
    "log_level": Case("error", level, "error", before="info"),
    "report_to": Case(["tensorboard"], sinks, ["tensorboard"], before=[]),
    "wandb_project": Case("mine", tracked("project"), "mine", before="tunesmith"),
    "wandb_name": Case("this one", tracked("name"), "this one", before="run"),
    "sample_prompts": Case(["Two?"], sampled, [("Two?", 64)], before=[]),
    "sample_max_new_tokens": Case(
        5, sampled, [("Two?", 5)], given={"sample_prompts": ["Two?"]}, before=[("Two?", 64)]
    ),
    "seed": Case(7, argument("seed"), 7, before=42),
    "model_name_or_path": Case("{folder}/tokenizer", taken("model_path"), "tokenizer", before="model"),
    "train_file": Case("{folder}/bad.jsonl", taken("train_path"), "bad.jsonl", before="talks.jsonl"),
    "output_dir": Case("{folder}/out", taken("output_dir"), "out", before=None),
    "resume_from_checkpoint": Case("{folder}/first", start, 7, given={"r": 2}, before=None),
    "shrink_batch_on_oom": Case(True, without_memory, "TooLarge", given=EVALUATES, before="OutOfMemoryError"),
    "save_total_limit": Case(1, kept, [3], before=[1, 2, 3]),
    "per_device_eval_batch_size": Case(3, evaluated, [3, 1], given=EVALUATES),
    "merge_lora_after_training": Case(
        True,
        final,
        ["adapter/adapter_model.safetensors", "model.safetensors"],
        before=["adapter_model.safetensors"],
    ),
}

_OF_FOUND = frozenset({"model_name_or_path", "task_id", "checkpoint", "base_model_path", "max_restarts"})
NOT_YET: dict[str, frozenset[str]] = {
    "train": frozenset(),
    "evaluate": frozenset(kind_of("evaluate").spec.model_fields),
    "generate": _OF_FOUND,
    "package": _OF_FOUND | {"output_dir"},
    "dataset": frozenset({"into"}),
    "chat": _OF_FOUND,
    "prove": _OF_FOUND,
    "upload": frozenset({"task_id", "max_restarts"}),
    "pull": frozenset({"max_restarts"}),
}


def packed(spec: Any, _: Place) -> list[str]:
    """The GGUF files that a package of an adapter has."""
    found = orders(spec, "m", 4, is_adapter=True)
    return [one.name + " with the adapter" * one.with_adapter for one in found]


def of_whole_model(spec: Any, place: Place) -> int | None:
    """The bytes that the files of a whole model's package are split by; what only an adapter has is refused."""
    return results.writing(spec, place.folder, place.model)._split_bytes


def uploaded(name: str) -> Shows:
    """What a hub is told of an upload."""
    return lambda spec, place: results.uploaded(spec, place.folder)[name]


def pulled(name: str) -> Shows:
    """What a hub is asked for by a pull."""
    return lambda spec, _: results.pulled(spec)[name]


OWN = {"preset": "custom"}
APART = {"merge_lora": False, "export_lora_gguf": True}
TALKS = {"prompts": None, "dataset": "{folder}/talks.jsonl"}
SAMPLED = {"temperature": 1.5}
OF_KINDS: dict[str, dict[str, Case]] = {
    "generate": {
        "prompts": Case(["Two?"], asked, ["user: Two?"], before=["user: One?"]),
        "dataset": Case(
            "{folder}/talks.jsonl", asked, ["user: What is 0 plus 0?"],
            given={"prompts": None}, before=REFUSED,
        ),
        "prompt_column": Case(
            "rules", asked, ["user: Be brief."], given=TALKS | {"dataset": "{folder}/plain.jsonl"},
            before=["user: How many are 0?"],
        ),
        "system_prompt": Case("Be kind.", asked, ["system: Be kind.", "user: One?"], before=["user: One?"]),
        "max_new_tokens": Case(3, drawn("max_new_tokens"), 3, before=8),
        "temperature": Case(0.7, drawn("do_sample"), True, before=False),
        "top_p": Case(0.3, drawn("top_p"), 0.3, given=SAMPLED, before=0.9),
        "seed": Case(7, answered(lambda rows: rows), ..., given=SAMPLED),
        "per_device_eval_batch_size": Case(3, drawn("at once"), 3, given=TALKS, before=8),
        "chat_template": Case("chatml", as_training("chat_template"), "chatml", before=None),
        "device": Case("cpu", as_training("device"), "cpu", before="auto"),
        "precision": Case("bf16", as_training("precision"), "bf16", before="auto"),
    },
    "package": {
        "chat_template": Case("chatml", as_training("chat_template"), "chatml", before=None),
        "device": Case("cpu", as_training("device"), "cpu", before="auto"),
        "precision": Case("bf16", as_training("precision"), "bf16", before="auto"),
        "format": Case("gguf", lambda spec, _: spec.format, REFUSED, before="safetensors"),
        "preset": Case("merge_only", packed, ["m-4.gguf with the adapter"], before=[]),
        "merge_lora": Case(
            False, packed, ["m-base-Q4_K_M.gguf"], given=OWN, before=["m-4-Q4_K_M.gguf with the adapter"]
        ),
        "export_gguf": Case(
            False, packed, ["checkpoint-4-lora.gguf"], given=OWN | APART,
            before=["m-base-Q4_K_M.gguf", "checkpoint-4-lora.gguf"],
        ),
        "quantize": Case(
            False, packed, ["m-4.gguf with the adapter"], given=OWN, before=["m-4-Q4_K_M.gguf with the adapter"]
        ),
        "quant_types": Case(
            ["Q8_0", "F16", "Q8_0"], packed, ["m-4-Q8_0.gguf with the adapter", "m-4-F16.gguf with the adapter"],
            given=OWN, before=["m-4-Q4_K_M.gguf with the adapter"],
        ),
        "export_lora_gguf": Case(
            True, packed, ["m-base-Q4_K_M.gguf", "checkpoint-4-lora.gguf"], given=OWN | {"merge_lora": False},
            before=["m-base-Q4_K_M.gguf"],
        ),
        "export_adapter_zip": Case(True, of_whole_model, REFUSED, before=None),
        "split_size": Case("3M", of_whole_model, 3_000_000, given=OWN, before=None),
        "external_converter": Case(
            True, lambda spec, _: results.is_left_to_converter(spec), True, given=OWN | {"quantize": False},
            before=REFUSED,
        ),
        "importance_matrix": Case("training", lambda spec, _: spec.matrix_rows, "training", given=OWN, before=None),
        "importance_tokens": Case(
            700, lambda spec, place: results.weighed_tokens(spec, place.folder, place.model), 700, before=8192
        ),
        "model_name": Case("Llama-Ours", lambda spec, _: results.called(spec), "Llama-Ours", before="m"),
        "accept_license": Case(True, lambda spec, _: results.license_told(spec), 1, before=REFUSED),
    },
    "prove": {
        "chat_template": Case("chatml", as_training("chat_template"), "chatml", before=None),
        "device": Case("cpu", as_training("device"), "cpu", before="auto"),
        "precision": Case("bf16", as_training("precision"), "bf16", before="auto"),
    },
    "upload": {
        "repo_id": Case("me/other", uploaded("repo_id"), "me/other", before="me/model"),
        "public": Case(True, uploaded("public"), True, before=False),
        "revision": Case("next", uploaded("revision"), "next", before=None),
        "token": Case("${env.OTHER_TOKEN}", uploaded("token"), "another", before="one"),
    },
    "pull": {
        "repo_id": Case("me/other", pulled("repo_id"), "me/other", before="me/model"),
        "revision": Case("next", pulled("revision"), "next", before=None),
        "hub": Case("modelscope", pulled("hub"), "modelscope", before="huggingface"),
        "token": Case("${env.OTHER_TOKEN}", pulled("token"), "another", before="one"),
    },
    "chat": {
        "chat_template": Case("chatml", as_training("chat_template"), "chatml", before=None),
        "device": Case("cpu", as_training("device"), "cpu", before="auto"),
        "precision": Case("bf16", as_training("precision"), "bf16", before="auto"),
        "resources_per_worker": Case(
            {"CPU": 3}, deployed(lambda options: options["ray_actor_options"]["num_cpus"]), 3, before=8
        ),
        "engine": Case("transformers", engine_of("engine"), "transformers", before="auto"),
        "context_length": Case(512, engine_of("context_length"), 512, before=None),
        "max_adapters": Case(3, engine_of("max_adapters"), 3, before=8),
        "max_running": Case(3, engine_of("max_running"), 3, before=8),
        "threads": Case(1, engine_of("threads"), 1, before=2),
        "idle_timeout": Case(
            0, deployed(lambda options: options["autoscaling_config"]["min_replicas"]), 1, before=0
        ),
    },
    "dataset": {
        "operation": Case("split", made_rows, {"train": 14, "eval": 2}, before={"data": ROWS}),
        "parameters": Case({"dataset": "{folder}/bad.jsonl"}, made_rows, {"data": ROWS + 1}, before={"data": ROWS}),
    },
}  # fmt: skip
GIVEN: dict[str, dict[str, Any]] = {
    "generate": {"model_name_or_path": "{model}", "prompts": ["One?"], "max_new_tokens": 8},
    "package": {"model_name_or_path": "{model}"},
    "chat": {"model_name_or_path": "{model}"},
    "prove": {"model_name_or_path": "{model}"},
    "upload": {"task_id": "task-1", "repo_id": "me/model"},
    "pull": {"repo_id": "me/model"},
    "dataset": {"operation": "shuffle", "parameters": {"dataset": "{folder}/talks.jsonl"}},
}
"""What a task of each of the other kinds is given, where its case says nothing else."""


def filled(value: Any, folder: Path) -> Any:
    """A value with the folder of the files in it."""
    if isinstance(value, str):
        return value.replace("{folder}", str(folder))
    return value


def seen(kind: str, case: Case, place: Place, more: dict[str, Any]) -> Any:
    """What shows; a refusal is its class."""
    plain = given(place.folder, place.model) if kind == "train" else GIVEN[kind]
    values = plain | case.given | more
    spec = {name: filled(value, place.folder) for name, value in values.items() if value is not None}
    if spec.get("model_name_or_path") == "{model}":
        spec["model_name_or_path"] = str(place.model)
    try:
        return case.shows(kind_of(kind).spec.read(spec), place)
    except InvalidInput:
        return REFUSED


ALL = {"train": CASES} | OF_KINDS


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, cases in ALL.items() for name in cases])
def test_a_parameter_does_what_its_case_says(kind: str, name: str, place: Place) -> None:
    case = ALL[kind][name]
    before, after = seen(kind, case, place, {}), seen(kind, case, place, {name: case.value})
    assert before != after
    for found, said in ((before, case.before), (after, case.after)):
        if said is ...:
            assert found is not REFUSED, "what is to be seen is not that it is refused"
        else:
            assert found == said


def test_no_parameter_is_without_a_case() -> None:
    for kind, declared in kinds().items():
        cases = set(ALL.get(kind, {}))
        named = set(declared.spec.model_fields)
        assert cases | NOT_YET[kind] == named, kind
        assert not cases & NOT_YET[kind], "what is proven leaves the list"


def test_what_is_not_yet_proven_only_becomes_less() -> None:
    """To be lowered with each case that comes; never raised. How a model is found counts for each kind that does."""
    found = sum(len(names & _OF_FOUND) for names in NOT_YET.values())
    assert sum(map(len, NOT_YET.values())) <= 2 + found + len(NOT_YET["evaluate"] - _OF_FOUND)
