"""Hugging Face's Trainer, subclassed thinly: our batches, our sums, our evaluation, no pickle in a checkpoint.

All flow (when to log, evaluate, save, stop) is decided in one place, `Conductor.on_step_end`, from the step number
alone, so that a resumed run decides as an undisturbed one. Every figure that is logged comes from sums kept here and
saved with the checkpoint, so that a window cut by a crash is reported whole.
Knows nothing of where files go: it hands folders to an uploader.
"""

import json
import math
import shutil
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from tunesmith.artifacts import checkpoint_name
from tunesmith.events import Metrics, Phase, PhaseDone, Progress, TrainingStarted
from tunesmith.lifecycle import Desired
from tunesmith.rows.encoding import IGNORE_INDEX
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.report import Outlet
from tunesmith_jobs.train.checkpoints import Uploader
from tunesmith_jobs.train.failures import NonFinite, Superseded
from tunesmith_jobs.train.rows import Collator, Order, Rows

WINDOW_FILE = "tunesmith_window.json"
ARGUMENTS_FILE = "training_args.json"
_PROGRESS_SECONDS = 1.0
_MAX_PERPLEXITY_LOSS = 100.0
_CHECKPOINT_METRICS = frozenset({"loss", "perplexity", "eval_loss", "eval_perplexity"})


@dataclass
class Window:
    """Sums since the last log line, and one since the start. Saved with every checkpoint."""

    loss: float = 0.0
    targets: float = 0.0
    tokens: float = 0.0
    places: float = 0.0
    rows: float = 0.0
    seconds: float = 0.0
    supervised_total: float = 0.0

    def restart(self) -> None:
        """Begin the next window."""
        self.__init__(supervised_total=self.supervised_total)  # type: ignore[misc]


@dataclass
class Plan:
    """What the run will do, in numbers."""

    spec: TrainSpec
    total_steps: int
    steps_per_epoch: int
    evaluates: bool
    restart: int = 0
    ready_at: float = 0.0
    """When the weights were there (`time.perf_counter`): the first step's time counts from here."""
    facts: dict[str, Any] = field(default_factory=dict)

    def is_due(self, strategy: str, every: int, step: int) -> bool:
        """Whether something with a `steps`/`epoch`/`no` strategy is due after `step`."""
        if strategy == "steps":
            return step % every == 0
        return strategy == "epoch" and step % self.steps_per_epoch == 0


class TuneTrainer(Trainer):  # type: ignore[misc]
    """The Trainer that every run uses."""

    control: TrainerControl

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        *,
        plan: Plan,
        rows: Rows,
        eval_rows: Rows | None,
        collator: Collator,
        outlet: Outlet,
        uploader: Uploader,
    ) -> None:
        self.plan = plan
        self.outlet = outlet
        self.uploader = uploader
        self.window = Window()
        self.stopped = False
        self.latest: dict[str, float] = {}
        self.order = Order(
            len(rows),
            plan.spec.per_device_train_batch_size,
            plan.spec.seed,
            reshuffle=plan.spec.reshuffle_each_epoch,
            world=args.world_size,
            rank=args.process_index,
        )
        self._rows, self._eval_rows, self._collator = rows, eval_rows, collator
        self._step_loss = torch.zeros((), device=args.device)
        self._step_targets = 0.0
        self._step_norm: float | None = None
        super().__init__(model, args, train_dataset=rows, data_collator=collator, callbacks=[Conductor(self)])
        self.remove_callback(PrinterCallback)

    # --- data: loaders with generators of their own, so that they draw nothing from the run's random state

    def _loader(self, rows: Rows, order: Any) -> DataLoader[Any]:
        return DataLoader(
            rows,
            batch_sampler=order,
            collate_fn=self._collator,
            generator=torch.Generator(),
            pin_memory=self.args.device.type == "cuda",
        )

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This worker's batches."""
        return self._loader(self._rows, self.order)

    # --- one step

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Forward and backward of one batch; the loss is a sum over its labels / labels of the whole step."""
        if self.outlet.superseded:
            raise Superseded
        assert num_items_in_batch is not None, "the loss must be normalised by trained tokens"
        mask = inputs["attention_mask"]
        self.window.tokens += float(mask.sum())
        self.window.places += float(mask.numel())
        self.window.rows += float((inputs["labels"] != IGNORE_INDEX).any(dim=1).sum())
        self._step_targets = float(num_items_in_batch)
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        self._step_loss += loss
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self._step_norm = float(norm) if norm is not None else None
        return norm

    def close_step(self) -> None:
        """Add the step to the window, before the weights move.

        Raises:
            NonFinite: The loss or the gradient is NaN or infinite.
        """
        loss = float(self._step_loss)
        self._step_loss.zero_()
        # With fp16 an infinite gradient is ordinary: the scaler skips that step.
        has_bad_norm = (
            self._step_norm is not None and not math.isfinite(self._step_norm) and not self.args.fp16
        )
        if not math.isfinite(loss) or has_bad_norm:
            what = f"loss {loss}" if not math.isfinite(loss) else f"gradient norm {self._step_norm}"
            raise NonFinite(f"Step {self.state.global_step + 1}: {what}.")
        # Each worker holds its share of the sum, scaled by the number of workers.
        self.window.loss += loss * self._step_targets / self.args.world_size
        self.window.targets += self._step_targets
        self.window.supervised_total += self._step_targets

    # --- what is said

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Report the window. Called by the Trainer at the steps that `Conductor` names, and once at the end."""
        if "train_loss" in logs:  # the Trainer's own summary
            return
        window = self.window
        sums = [window.loss, window.tokens, window.places, window.rows]
        if self.args.world_size > 1:
            total = torch.tensor(sums, dtype=torch.float64, device=self.args.device)
            sums = self.accelerator.reduce(total, reduction="sum").tolist()
        loss = sums[0] / max(window.targets, 1.0)
        values = {
            "loss": loss,
            "perplexity": perplexity(loss),
            "learning_rate": float(logs["learning_rate"]),
            "epoch": float(self.state.epoch or 0),
            "supervised_tokens": window.supervised_total,
            "useful_token_share": sums[1] / max(sums[2], 1.0),
            "memory_bytes": float(memory_bytes(self.args.device)),
        }
        if self._step_norm is not None:
            values["grad_norm"] = self._step_norm
        if window.seconds > 0:
            values["tokens_per_second"] = sums[1] / window.seconds
            values["samples_per_second"] = sums[3] / window.seconds
        self.say(values)
        window.restart()
        # The Trainer keeps every line it ever logged in the checkpoint; the event log has them already.
        self.state.log_history.clear()
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, logs)

    def say(self, values: dict[str, float]) -> None:
        """Emit measurements at the current step."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self.latest |= {name: value for name, value in finite.items() if name in _CHECKPOINT_METRICS}
        if self.is_world_process_zero():
            self.outlet.emit(Metrics(step=self.state.global_step, values=finite))

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The mean loss over every label of the evaluation rows, batch by batch."""
        assert self._eval_rows is not None
        spec = self.plan.spec
        size = spec.per_device_eval_batch_size or spec.per_device_train_batch_size
        mine = list(range(self.args.process_index, len(self._eval_rows), self.args.world_size))
        batches = [mine[i : i + size] for i in range(0, len(mine), size)]
        was_training = self.model.training
        self.model.eval()
        total = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        with torch.no_grad():
            for batch in self._loader(self._eval_rows, batches):
                if self.outlet.superseded:
                    raise Superseded
                inputs = self._prepare_inputs(batch)
                with self.compute_loss_context_manager():
                    # One item in the batch: the model answers with the sum.
                    loss = self.model(**inputs, num_items_in_batch=1).loss
                total[0] += loss.double()
                total[1] += (inputs["labels"][:, 1:] != IGNORE_INDEX).sum()
        if self.args.world_size > 1:
            total = self.accelerator.reduce(total, reduction="sum")
        self.model.train(was_training)
        loss_value = float(total[0] / total[1].clamp(min=1))
        values = {"eval_loss": loss_value, "eval_perplexity": perplexity(loss_value)}
        self.say(values)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, values)
        return values

    # --- what is kept

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        # Instead of the Trainer's: weights only, and the arguments as JSON, never as a pickle.
        if not self.args.should_save:
            return
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        self.accelerator.unwrap_model(self.model).save_pretrained(folder, state_dict=state_dict)
        (folder / ARGUMENTS_FILE).write_text(self.args.to_json_string())

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(str(self.args.output_dir)) / checkpoint_name(self.state.global_step)
        if self.args.should_save:
            shutil.rmtree(folder, ignore_errors=True)  # left by a crash in the middle of a save
        if self.args.world_size > 1:
            torch.distributed.barrier()  # the others write into the folder too, and may be faster
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            (folder / WINDOW_FILE).write_text(json.dumps(asdict(self.window)))

    def restore_window(self, folder: Path) -> None:
        """Take up the sums that a checkpoint holds."""
        self.window = Window(**json.loads((folder / WINDOW_FILE).read_text()))


def perplexity(loss: float) -> float:
    """exp(loss); infinite where that is beyond sense."""
    return math.exp(loss) if loss < _MAX_PERPLEXITY_LOSS else math.inf


def memory_bytes(device: torch.device) -> int:
    """What the worker holds now: GPU memory reserved, or its resident memory."""
    if device.type == "cuda":
        return int(torch.cuda.memory_reserved(device))
    import psutil

    return int(psutil.Process().memory_info().rss)


class Conductor(TrainerCallback):  # type: ignore[misc]
    """Decides after each step what is due, and says how far the run is."""

    def __init__(self, trainer: TuneTrainer) -> None:
        self._trainer = trainer
        self._mark = time.perf_counter()
        self._said_at = 0.0
        self._durations: deque[float] = deque(maxlen=50)
        self._is_first = True
        self._step_began = 0.0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Say that training begins, and measure where it begins."""
        trainer, plan = self._trainer, self._trainer.plan
        if state.is_world_process_zero:
            trainer.outlet.emit(
                TrainingStarted(
                    step=state.global_step,
                    total_steps=plan.total_steps,
                    restart=plan.restart,
                    resumed_from=checkpoint_name(state.global_step) if state.global_step else None,
                    facts=plan.facts,
                )
            )
        if plan.evaluates and state.global_step == 0:
            trainer.evaluate()
        self._mark = self._step_began = time.perf_counter()

    def on_epoch_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Tell the order which epoch it is, from the step alone."""
        self._trainer.order.epoch = state.global_step // self._trainer.plan.steps_per_epoch

    def on_pre_optimizer_step(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Count the step before the weights move."""
        self._trainer.close_step()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Decide what is due. The Trainer then logs, evaluates and saves, in this order."""
        trainer, plan, step = self._trainer, self._trainer.plan, state.global_step
        now = time.perf_counter()
        trainer.window.seconds += now - self._mark
        if not self._is_first:
            self._durations.append(now - self._step_began)  # evaluations and saves in between count
        elif state.is_world_process_zero:
            trainer.outlet.emit(PhaseDone(phase=Phase.STEP, seconds=now - plan.ready_at))
        self._is_first, self._step_began, self._mark = False, now, now
        if trainer.outlet.superseded:
            raise Superseded
        is_last = step >= plan.total_steps
        trainer.stopped = not is_last and self._stop_is_wanted()
        is_end = is_last or trainer.stopped
        spec = plan.spec
        control.should_log = is_end or step % spec.logging_steps == 0
        control.should_evaluate = plan.evaluates and (
            is_last or plan.is_due(spec.eval_strategy, spec.eval_steps, step)
        )
        control.should_save = is_end or plan.is_due(spec.save_strategy, spec.save_steps, step)
        control.should_training_stop = is_end
        if state.is_world_process_zero and (is_end or now - self._said_at >= _PROGRESS_SECONDS):
            self._said_at = now
            left = None
            if self._durations:
                left = sum(self._durations) / len(self._durations) * max(0, plan.total_steps - step)
            trainer.outlet.emit(
                Progress(step=step, total_steps=plan.total_steps, epoch=state.epoch or 0, seconds_left=left)
            )

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The time an evaluation took is no training time."""
        self._mark = time.perf_counter()

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Hand the local checkpoint over."""
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir)) / checkpoint_name(state.global_step)
            expected = [folder / f"rng_state_{rank}.pth" for rank in range(args.world_size)]
            is_alone = args.world_size <= 1
            self._trainer.uploader.submit(
                state.global_step,
                folder,
                self._trainer.latest,
                ready=lambda: is_alone or all(file.exists() for file in expected),
            )
        self._mark = time.perf_counter()

    def _stop_is_wanted(self) -> bool:
        trainer = self._trainer
        wanted = trainer.outlet.desired is Desired.STOP
        if trainer.args.world_size > 1:
            # Rank 0 decides; all stop after the same step.
            flag = torch.tensor([float(wanted)], device=trainer.args.device)
            torch.distributed.broadcast(flag, 0)
            wanted = bool(flag.item())
        return wanted
