"""Hugging Face's Trainer, subclassed thinly: our batches, our sums, our evaluation, no pickle in a checkpoint.

All flow (when to log, evaluate, save, stop) is decided in one place, `callbacks.Conductor`. Every figure that is
logged comes from sums kept here and saved with the checkpoint, so that a window cut by a crash is reported whole.
Knows nothing of where files go: it hands folders to an uploader.
"""

import json
import math
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerControl, TrainingArguments

from tunesmith.activity import ActivityKind, Unit
from tunesmith.artifacts import checkpoint_name
from tunesmith.errors import InvalidInput
from tunesmith.events import Metrics, Warned
from tunesmith.removal import remove_own
from tunesmith.zero import uses_zero
from tunesmith_jobs.activities import Doing, bytes_below
from tunesmith_jobs.report import Outlet
from tunesmith_jobs.train.batches.collate import take_counts
from tunesmith_jobs.train.batches.inputs import Data
from tunesmith_jobs.train.batches.microbatch import split
from tunesmith_jobs.train.batches.rows import Order, Samples
from tunesmith_jobs.train.checkpoint import restore, states
from tunesmith_jobs.train.checkpoint.resume import StartState
from tunesmith_jobs.train.checkpoint.snapshots import OPTIMIZER_FILE, Snapshots
from tunesmith_jobs.train.checkpoint.store import BigFile, Uploader
from tunesmith_jobs.train.model import zero
from tunesmith_jobs.train.model.build import copy_tokenizer
from tunesmith_jobs.train.model.weights import written_in_pieces
from tunesmith_jobs.train.run import build_optimizer
from tunesmith_jobs.train.run.callbacks import Conductor, Standing
from tunesmith_jobs.train.run.evaluation import class_loss, perplexity
from tunesmith_jobs.train.run.failures import NonFinite, StorageFailed, is_out_of_memory
from tunesmith_jobs.train.run.interruption import Moment, Notices, TooLarge
from tunesmith_jobs.train.run.plan import Plan, Window

ARGUMENTS_FILE = "training_args.json"
_STILL_STEPS = 3
_STILL = Warned(
    code="zero_gradient",
    message=f"The gradient has been zero for {_STILL_STEPS} steps: nothing is learned.",
    hint="Look at which tokens of the rows are trained, and at `target_modules` and `precision`.",
)
_CHECKPOINT_METRICS = frozenset(
    {"loss", "perplexity", "eval_loss", "eval_perplexity", "eval_accuracy", "eval_f1"}
)


class TuneTrainer(Trainer):  # type: ignore[misc]
    """The Trainer that every run uses."""

    control: TrainerControl

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        *,
        plan: Plan,
        data: Data,
        pad_id: int,
        outlet: Outlet,
        uploader: Uploader,
        notices: Notices,
    ) -> None:
        self.plan = plan
        self.outlet = outlet
        self.uploader = uploader
        self.notices = notices
        self.conductor = Conductor(self)
        self.window = Window()
        self.standing = Standing()
        self.stopped = False
        self.batches: Doing
        """Counts the batches that were begun; given by who starts the training."""
        self.owes_evaluation = False
        """Whether the run goes on from a step whose evaluation was left."""
        self.latest: dict[str, float] = {}
        self.snapshots = Snapshots(Path(str(args.output_dir)) / "kept")
        self.files: list[BigFile] = []
        """What the uploader still has to write of the newest checkpoint."""
        self.order = Order(
            len(data.rows),
            plan.spec.per_device_train_batch_size,
            plan.spec.seed,
            reshuffle=plan.spec.reshuffle_each_epoch,
            world=args.world_size,
            rank=args.process_index,
            accumulation=args.gradient_accumulation_steps,
            lengths=data.rows.lengths,
        )
        self._data, self._collator = data, data.collator(pad_id)
        # A graph of the compiler, and weights that move in the backward pass, want the batch whole.
        self._splits = (
            args.device.type == "cpu"
            and not plan.spec.torch_compile
            and not uses_zero(plan.spec)
            and not build_optimizer.moves_in_backward(plan.spec)
        )
        # A step cannot be given up where its weights have moved, or where the engine counts its batches.
        self.can_leave_in_step = not uses_zero(plan.spec) and not build_optimizer.moves_in_backward(plan.spec)
        # Of several workers, the others would wait for the one that gave up.
        self._may_shrink = plan.spec.shrink_batch_on_oom and self.can_leave_in_step and args.world_size == 1
        self._step_loss = torch.zeros((), device=args.device)
        self._step_targets = 0.0
        self._step_norm: float | None = None
        self._is_own = False
        """Whether this task saved the checkpoint that is gone on from."""
        self._still_steps = 0
        self._save_failed: Exception | None = None
        super().__init__(
            model,
            args,
            train_dataset=data.rows,
            eval_dataset=data.eval_rows,
            data_collator=self._collator,
            compute_loss_func=class_loss if data.classes else None,
            callbacks=[self.conductor],
        )
        self.remove_callback(PrinterCallback)

    def _prepare_for_training(self, *arguments: Any, **more: Any) -> Any:
        prepared = super()._prepare_for_training(*arguments, **more)
        self.plan.facts["engine"] = zero.engine_of(self.model_wrapped, self.args)
        return prepared

    def create_optimizer(self, model: Any = None) -> Any:
        """The optimizer, made to survive a checkpoint."""
        is_new = self.optimizer is None
        super().create_optimizer(model)
        if is_new:
            self.optimizer = build_optimizer.fit(self.optimizer, self.plan.spec)
        return self.optimizer

    # --- data: loaders with generators of their own, so that they draw nothing from the run's random state

    def _loader(self, rows: Samples, order: Any, workers: int = 0) -> DataLoader[Any]:
        return DataLoader(
            rows,  # type: ignore[arg-type]  # anything with a length and items will do
            batch_sampler=order,
            collate_fn=self._collator,
            generator=torch.Generator(),
            num_workers=workers,
            pin_memory=self.plan.spec.dataloader_pin_memory and self.args.device.type == "cuda",
        )

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This worker's batches."""
        return self._loader(self._data.rows, self.order, self.plan.spec.dataloader_num_workers)

    # --- one step

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Forward and backward of one batch; the loss is a sum over its labels / labels of the whole step.

        Raises:
            TooLarge: It does not fit into memory, and smaller ones may be tried.
        """
        try:
            return self._forward_and_backward(model, inputs, num_items_in_batch)
        except Exception as error:
            if self._may_shrink and is_out_of_memory(error):
                raise TooLarge(str(error)) from error
            raise

    def _forward_and_backward(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any
    ) -> torch.Tensor:
        self.conductor.before_batch()
        self.batches.advance()
        assert num_items_in_batch is not None, "the loss must be normalised by trained tokens"
        counts = take_counts(inputs)
        self.window.tokens += counts.tokens
        parts = split(inputs, counts.lengths) if self._splits else [inputs]
        self.window.places += sum(part["input_ids"].numel() for part in parts)
        self.window.rows += counts.examples
        self._step_targets = float(num_items_in_batch)
        losses = []
        for number, part in enumerate(parts, start=1):
            if self.args.world_size == 1 and number > 1:
                self.conductor.before_batch()
                self.batches.advance()
            # Workers add up their gradients once, with the last part.
            alone = self.accelerator.no_sync(model) if number < len(parts) else nullcontext()
            with alone:
                losses.append(super().training_step(model, part, num_items_in_batch))
        loss = torch.stack(losses).sum() if len(losses) > 1 else losses[0]
        self._step_loss += loss
        return loss

    def begin_step(self) -> None:
        """Remember what the step changes before the weights move."""
        self._before_step = Moment.of(self)

    def leave(self) -> None:
        """Forget the step that was given up, and save the last whole one, unless it is saved."""
        self._before_step.bring_back(self)
        self._step_loss.zero_()
        self.save_and_leave()

    def save_and_leave(self) -> None:
        """Save the last whole step, after which the run is left, unless it is saved."""
        self.close_window()
        if self.is_world_process_zero():
            self.conductor.say_progress(self.state)
        if self.state.global_step and self.conductor.saved_step != self.state.global_step:
            self._save_checkpoint(self.model_wrapped, None)
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        if build_optimizer.moves_in_backward(self.plan.spec):
            return None  # the gradients are gone
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
        self._still_steps = self._still_steps + 1 if self._step_norm == 0 else 0
        if self._still_steps == _STILL_STEPS and self.is_world_process_zero():
            self.outlet.emit(_STILL)
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
            "learning_rate": float(logs["learning_rate"]),
            "epoch": float(self.state.epoch or 0),
            "supervised_tokens": window.supervised_total,
            "useful_token_share": sums[1] / max(sums[2], 1.0),
            "memory_bytes": float(memory_bytes(self.args.device)),
        }
        if not self._data.classes:
            values["perplexity"] = perplexity(loss)
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

    def close_window(self) -> None:
        """Report what the window holds: the run ends between two log lines."""
        if self.window.targets > 0:
            self.log({"learning_rate": self._get_learning_rate()})

    def say(self, values: dict[str, float]) -> None:
        """Emit measurements at the current step."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self.latest |= {name: value for name, value in finite.items() if name in _CHECKPOINT_METRICS}
        if self.is_world_process_zero():
            self.outlet.emit(Metrics(step=self.state.global_step, values=finite))

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """What the evaluation rows say, batch by batch.

        Raises:
            LeftEvaluation: A stop is wanted; nothing was measured.
        """
        rows = self._data.eval_rows
        assert rows is not None
        lengths = rows.lengths
        spec = self.plan.spec
        size = spec.per_device_eval_batch_size or spec.per_device_train_batch_size
        mine = list(range(self.args.process_index, len(rows), self.args.world_size))
        mine.sort(key=lambda row: -int(lengths[row]))  # like lengths beside each other: less padding
        batches = [mine[i : i + size] for i in range(0, len(mine), size)]
        was_training = self.model.training
        self.model.eval()
        scores = self._data.scores(self.args.device)
        own = len(batches)
        # How many batches every worker has: up to there they can agree to leave.
        common = math.ceil(len(rows) // self.args.world_size / size)
        if zero.stage_of(self.args) == 3:
            # Every worker holds a part of the weights: all run equally many batches, some for the others only.
            common = math.ceil(math.ceil(len(rows) / self.args.world_size) / size)
            batches += [batches[0] if batches else [0]] * (common - own)
        try:
            with (
                self.outlet.activities.doing(ActivityKind.EVALUATING, Unit.BATCHES, len(batches)) as doing,
                build_optimizer.evaluating(self.optimizer),
                torch.no_grad(),
            ):
                for number, batch in enumerate(self._loader(rows, batches)):
                    self.conductor.before_evaluated_batch(is_common=number < common)
                    inputs = self._prepare_inputs(batch)
                    take_counts(inputs)
                    counted = scores.sums.clone()
                    with self.compute_loss_context_manager():
                        scores.add(self.model, inputs)
                    if number >= own:
                        scores.sums = counted
                    doing.advance()
        finally:
            self.model.train(was_training)
        if self.args.world_size > 1:
            scores.sums = self.accelerator.reduce(scores.sums, reduction="sum")
        values = scores.values()
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
        if state_dict is None and self.snapshots.plan_weights(folder):
            return
        model = self.accelerator.unwrap_model(self.model)
        if state_dict is not None:
            # DeepSpeed gathers a tied weight once for each of its names.
            tied = getattr(model, "all_tied_weights_keys", None) or {}
            state_dict = {name: value for name, value in state_dict.items() if name not in tied}
        with written_in_pieces():
            model.save_pretrained(folder, state_dict=state_dict)
        if self.plan.tokenizer is not None and not hasattr(model, "peft_config"):
            copy_tokenizer(self.plan.tokenizer, folder, self._data.chosen_template)
        (folder / ARGUMENTS_FILE).write_text(self.args.to_json_string())
        if state_dict is None:
            self.snapshots.learn(folder, model)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        folder = Path(output_dir)
        if self.is_deepspeed_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
            remove_own(folder / restore.OLD_SCHEDULE_FILE)  # the library's pickle of it
        if not self.args.should_save:
            return
        try:
            if not self.is_deepspeed_enabled:
                self.snapshots.plan_state(folder / OPTIMIZER_FILE, self.optimizer.state_dict())
            if not restore.is_deepspeeds(self.lr_scheduler):
                states.write_json(folder / states.SCHEDULE_FILE, self.lr_scheduler.state_dict())
        except states.Unfit as error:
            raise InvalidInput(
                f"The state of this optimizer or schedule cannot be kept in a checkpoint: it holds {error}.",
                hint="Use another `optimizer`.",
                field="optimizer",
            ) from error

    def _save_scaler(self, output_dir: str) -> None:
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None and self.args.should_save:
            states.write_json(Path(output_dir) / states.SCALER_FILE, scaler.state_dict())

    def _save_rng_state(self, output_dir: str) -> None:
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)  # by a worker that is faster than the first
        name = states.random_file(self.args.process_index, self.args.world_size)
        try:
            states.write_tensors(folder / name, states.random_states())
        except Exception as error:  # the others are on their way to the next message: see `_save_checkpoint`
            self._save_failed = error

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(str(self.args.output_dir)) / checkpoint_name(self.state.global_step)
        if self.args.should_save:
            remove_own(folder)  # left by a crash in the middle of a save
        if self.args.world_size > 1:
            torch.distributed.barrier()  # the others write into the folder too, and may be faster
        with (
            self.outlet.activities.doing(ActivityKind.SAVING, measure=lambda: bytes_below(folder)),
            build_optimizer.evaluating(self.optimizer),
        ):
            super()._save_checkpoint(model, trial)
            self._agree_on_save()
            self.files = self.snapshots.take()
        self.standing.keep(self.state.global_step)
        self.standing.measured = dict(self.latest)
        if self.args.should_save:
            (folder / restore.WINDOW_FILE).write_text(json.dumps(asdict(self.window)))
            self.standing.write(folder)
            for script in folder.glob("zero_to_*.py"):
                remove_own(script)  # DeepSpeed adds programs; the whole weights lie beside them anyway

    def _agree_on_save(self) -> None:
        """See that every worker could save its part, so that none waits for one that has failed.

        Raises:
            StorageFailed: One could not.
        """
        failed, self._save_failed = self._save_failed, None
        is_failed = failed is not None
        if self.args.world_size > 1:
            told = torch.tensor(float(is_failed), device=self.args.device)
            torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
            is_failed = bool(told)
        if is_failed:
            words = failed if failed is not None else "another worker's part could not be written"
            raise StorageFailed(f"A checkpoint could not be saved: {words}") from failed

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with restore.told(resume_from_checkpoint):
            restore.load_weights(self.model if model is None else model, Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        scheduler = self.lr_scheduler
        with restore.told(checkpoint):
            if not self.is_deepspeed_enabled:  # which has loaded its own
                self.optimizer.load_state_dict(restore.optimizer_state(Path(checkpoint), self._is_own))
            if not restore.is_deepspeeds(scheduler):
                scheduler.load_state_dict(restore.schedule_state(Path(checkpoint), self._is_own))
        if self.is_deepspeed_enabled or not hasattr(scheduler, "lr_lambdas"):
            return
        # The optimizer comes back with the rate of the schedule as it was; a run that its user lets go on for
        # longer has a longer one. Where nothing changed this is the same number.
        rates = zip(self.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
        for group, base, at in rates:
            group["lr"] = base * at(scheduler.last_epoch)

    def _load_scaler(self, checkpoint: str | None) -> None:
        scaler = getattr(self.accelerator, "scaler", None)
        if checkpoint is not None and scaler is not None:
            with restore.told(checkpoint):
                state = restore.scaler_state(Path(checkpoint), self._is_own)
                if state is not None:
                    scaler.load_state_dict(state)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        with restore.told(checkpoint):
            found = restore.random_states(
                Path(checkpoint), self._is_own, self.args.process_index, self.args.world_size
            )
            if found is not None:  # else as many workers saved as do not train now
                states.set_random_states(found)

    def restore(self, start: StartState, standing: Standing) -> None:
        """Take up the sums that a checkpoint holds, and a standing."""
        self._is_own = start.is_own
        self.window = Window(**json.loads((start.folder / restore.WINDOW_FILE).read_text()))
        self.standing, self.latest = standing, dict(standing.measured)
        self.conductor.saved_step = start.step if start.is_own else None
        self.owes_evaluation = owes_evaluation(self.plan, start, standing)


def owes_evaluation(plan: Plan, start: StartState, standing: Standing) -> bool:
    """Whether a run goes on from a step of its own whose evaluation was left."""
    return start.is_own and standing.last_step != start.step and plan.evaluates_after(start.step)


def memory_bytes(device: torch.device) -> int:
    """What the worker holds now: GPU memory reserved, or its resident memory."""
    if device.type == "cuda":
        return int(torch.cuda.memory_reserved(device))
    import psutil

    return int(psutil.Process().memory_info().rss)
