"""The state of a run has one owner, and what is overridden of the library's Trainer is said in one place."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tunesmith.lifecycle import Desired
from tunesmith.spec.training import TrainSpec
from tunesmith.state_of import StateOf
from tunesmith_jobs.train.run.callbacks import Actions, RunCallback

REPOSITORY = Path(__file__).parents[2]
RUN = REPOSITORY / "jobs" / "tunesmith_jobs" / "train" / "run"


def imported(name: str) -> Iterator[str]:
    """The modules that a module of `train/run` imports, for types alone or not."""
    for node in ast.walk(ast.parse((RUN / f"{name}.py").read_text())):
        if isinstance(node, ast.ImportFrom):
            yield f"{node.module}"
            yield from (f"{node.module}.{item.name}" for item in node.names)
        elif isinstance(node, ast.Import):
            yield from (item.name for item in node.names)


def test_nothing_that_the_trainer_is_made_of_knows_the_trainer() -> None:
    package = "tunesmith_jobs.train.run"
    for name in ("state", "evaluation_state", "callbacks", "interruption", "checkpointing", "plan"):
        assert f"{package}.trainer" not in set(imported(name)), name
    for name in ("state", "evaluation_state", "interruption", "checkpointing", "plan"):
        assert f"{package}.callbacks" not in set(imported(name)), name


def test_the_trainer_keeps_no_callback_of_its_own() -> None:
    """It is handed to the library and called by it alone, so that there is no way back."""
    tree = ast.parse((RUN / "trainer.py").read_text())
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "RunCallback"]
    kept = [
        use
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for use in ast.walk(node.value)
        if use in uses
    ]
    assert len(uses) == 1
    assert not kept


def test_each_overridden_method_is_listed_with_the_version_it_was_checked_against() -> None:
    from transformers import Trainer

    from tunesmith_jobs.train.run.checkpointing import CheckpointingTrainer
    from tunesmith_jobs.train.run.trainer import TuneTrainer

    text = (RUN / "trainer.py").read_text()
    listed = re.search(
        r"# Which methods of the library's Trainer.*?transformers (\S+):\n((?: +# .*\n)+)", text
    )
    assert listed is not None
    constraints = (REPOSITORY / "constraints.txt").read_text()
    assert f"\ntransformers=={listed[1]}\n" in constraints, "check the list against the new version"
    names = [name for line in listed[2].splitlines() for name in re.findall(r"`(\w+)`", line.split(":")[0])]
    own = (vars(TuneTrainer).keys() | vars(CheckpointingTrainer).keys()) - {"__init__"}
    overridden = {name for name in own if hasattr(Trainer, name) and not re.fullmatch("__.*__", name)}
    assert sorted(names) == sorted(overridden)
    assert "run" not in vars(Trainer), "the library has come to use our name"


class Recorded:
    """`Actions` that only say what was asked of them."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        assert name in vars(Actions), f"`{name}` is not among the actions"
        return lambda *arguments: self.asked.append(" ".join(map(str, (name, *arguments))))


def test_the_callback_needs_no_trainer() -> None:
    """A run of six steps that evaluates every two and is stopped after the fifth, decided with nothing behind it."""
    import torch
    from transformers import TrainerControl, TrainerState

    from tunesmith_jobs.outlet import Silent
    from tunesmith_jobs.train.run.interruption import Notices
    from tunesmith_jobs.train.run.plan import Plan
    from tunesmith_jobs.train.run.state import RunState

    spec = TrainSpec.read(
        {"model_name_or_path": "m", "train_file": "d", "eval_strategy": "steps", "eval_steps": 2}
        | {"eval_sampling_ratio": 0.5, "save_strategy": "steps", "save_steps": 3, "logging_steps": 1}
    )
    outlet, actions = Silent(), Recorded()
    run = RunState(
        Plan(spec, StateOf.of(spec), 6, 4, evaluates=True), outlet, Notices(), torch.device("cpu"), 1, True
    )
    callback, state, control = RunCallback(run, actions), TrainerState(), TrainerControl()
    callback.on_train_begin(None, state, control)
    due: list[list[str]] = []
    for step in range(1, 6):
        if state.global_step % 4 == 0:
            callback.on_epoch_begin(None, state, control)
        callback.on_step_begin(None, state, control)
        callback.on_pre_optimizer_step(None, state, control)
        state.global_step = step
        if step == 5:
            outlet.desired = Desired.STOP
        callback.on_step_end(None, state, control)
        due.append(
            [name for name in ("evaluate", "save", "training_stop") if getattr(control, f"should_{name}")]
        )
        if control.should_save:
            callback.on_save(None, state, control)
    assert due == [[], ["evaluate"], ["save"], ["evaluate"], ["save", "training_stop"]]
    assert run.stopped
    assert run.saved_step == 5
    step = ["begin_step", "close_step"]
    save = ["hand_over_checkpoint", "answer_samples"]
    first, second = [*step, *step, *step, *save, *step], [*step, *save]
    assert actions.asked == ["evaluate", "begin_epoch 0", *first, "begin_epoch 1", *second]
