"""Hugging Face's Trainer, subclassed thinly: our batches, our sums, our evaluation, no pickle in a checkpoint.

All flow (when to log, evaluate, save, stop) is decided in one place, `callbacks.RunCallback`. Every figure that is
logged comes from sums in `state.RunState` that are saved with the checkpoint, so that a window cut by a crash is
reported whole. One step reads from top to bottom under "one step"; what comes after it, in `RunCallback.on_step_end`.
Knows nothing of where files go: it hands folders to an uploader.
"""

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import PrinterCallback, TrainerControl, TrainingArguments

from tunesmith.activity import ActivityKind, Unit
from tunesmith.artifacts import checkpoint_name
from tunesmith.events import Metrics, Warned
from tunesmith.zero import uses_zero
from tunesmith_jobs.batches.collate import Collator, take_counts
from tunesmith_jobs.batches.inputs import Data
from tunesmith_jobs.batches.microbatch import split
from tunesmith_jobs.batches.rows import EvaluationBatches, Order, Samples
from tunesmith_jobs.failures import NonFinite, is_out_of_memory
from tunesmith_jobs.models.isolation import NOT_ASKED, SEEN, sees_neighbours
from tunesmith_jobs.models.scores import class_loss, perplexity
from tunesmith_jobs.train.checkpoint.snapshots import Snapshots
from tunesmith_jobs.train.checkpoint.states import random_file
from tunesmith_jobs.train.checkpoint.uploading import Uploader
from tunesmith_jobs.train.run import build_optimizer, zero
from tunesmith_jobs.train.run.callbacks import RunCallback
from tunesmith_jobs.train.run.checkpointing import CheckpointingTrainer
from tunesmith_jobs.train.run.facts import memory_bytes
from tunesmith_jobs.train.run.interruption import StepStart, TooLarge
from tunesmith_jobs.train.run.samples import SamplePrompts
from tunesmith_jobs.train.run.state import RunState

_STILL_STEPS = 3
_STILL = Warned(
    code="zero_gradient",
    message=f"The gradient has been zero for {_STILL_STEPS} steps: nothing is learned.",
    hint="Look at which tokens of the rows are trained, and at `target_modules` and `precision`.",
)
_CHECKPOINT_METRICS = frozenset(
    {"loss", "perplexity", "eval_loss", "eval_perplexity", "eval_accuracy", "eval_f1"}
)


class TuneTrainer(CheckpointingTrainer):
    """The Trainer that every run uses."""

    # Which methods of the library's Trainer are overridden, and why; checked against transformers 5.23.0:
    # - `_prepare_for_training`: the engine that really runs is known, and reported, only after it.
    # - `create_optimizer`: the optimizer is made to survive a checkpoint.
    # - `get_train_dataloader`: the order of the rows follows from the step, and draws nothing from the random state.
    # - `training_step`: a stop is looked for before each batch, rows are split by length, sums are counted by tokens.
    # - `_get_grad_norm`: its figure is kept for the log line; gradients that the backward pass used are gone.
    # - `log`: the window is reported as an event, and no history grows in the checkpoint.
    # - `evaluate`: sums in the memory of one batch, given up between batches, in the modes of the optimizer.
    # - `_save_checkpoint`: what a crash left is removed before, workers agree after, our sums are added.
    # - `_save`, `_save_optimizer_and_scheduler`, `_save_scaler`, `_save_rng_state`: the library pickles.
    # - `_load_from_checkpoint`, `_load_optimizer_and_scheduler`, `_load_scaler`, `_load_rng_state`: it unpickles.

    control: TrainerControl

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        *,
        run: RunState,
        data: Data,
        pad_id: int,
        uploader: Uploader,
    ) -> None:
        plan = run.plan
        self.run, self.uploader = run, uploader
        self.snapshots = Snapshots(Path(str(args.output_dir)) / "kept")
        self.files = []
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
        self._samples = SamplePrompts(plan.spec, plan.source, plan.tokenizer)
        self._data, self._collator = data, data.collator(pad_id)
        # A graph of the compiler, and weights that move in the backward pass, want the batch whole.
        self._splits = (
            args.device.type == "cpu"
            and not plan.spec.torch_compile
            and not uses_zero(plan.spec)
            and not build_optimizer.moves_in_backward(plan.spec)
        )
        # Of several workers, the others would wait for the one that gave up.
        self._may_shrink = plan.spec.shrink_batch_on_oom and run.can_stop_in_step and args.world_size == 1
        self._step_loss = torch.zeros((), device=args.device)
        self._step_targets = 0.0
        self._step_norm: float | None = None
        self._still_steps = 0
        super().__init__(
            model,
            args,
            train_dataset=data.rows,
            eval_dataset=data.eval_rows,
            data_collator=self._collator,
            compute_loss_func=class_loss if data.classes else None,
            callbacks=[RunCallback(run, self)],
        )
        self.remove_callback(PrinterCallback)
        if data.is_packed:
            self._keep_documents_apart()

    def _keep_documents_apart(self) -> None:
        """See that no document of a packed row sees another one: by their positions, or else as rows."""
        spec = self.run.plan.spec
        # The weights of one that is shared out cannot be asked before.
        is_whole = zero.stage_of(self.args) != 3
        with self.compute_loss_context_manager():
            if is_whole and not sees_neighbours(self.model, min(2, spec.per_device_train_batch_size)):
                return
        assert isinstance(self._collator, Collator), "classes are not packed"
        self._collator.is_unpacked = True
        # The rows have many lengths now.
        self._splits = not (spec.torch_compile or uses_zero(spec) or build_optimizer.moves_in_backward(spec))
        self.run.plan.facts["documents"] = "each as a row"
        if self.is_world_process_zero() and not self.run.plan.restart:
            self.run.outlet.emit(SEEN if is_whole else NOT_ASKED)

    def _prepare_for_training(self, *arguments: Any, **more: Any) -> Any:
        prepared = super()._prepare_for_training(*arguments, **more)
        self.run.plan.facts["engine"] = zero.engine_of(self.model_wrapped, self.args)
        return prepared

    def create_optimizer(self, model: Any = None) -> Any:
        """The optimizer, made to survive a checkpoint."""
        is_new = self.optimizer is None
        super().create_optimizer(model)
        if is_new:
            self.optimizer = build_optimizer.fit(self.optimizer, self.run.plan.spec)
        return self.optimizer

    # --- data: loaders with generators of their own, so that they draw nothing from the run's random state

    def _loader(self, rows: Samples, order: Any, workers: int = 0) -> DataLoader[Any]:
        return DataLoader(
            rows,  # type: ignore[arg-type]  # anything with a length and items will do
            batch_sampler=order,
            collate_fn=self._collator,
            generator=torch.Generator(),
            num_workers=workers,
            pin_memory=self.run.plan.spec.dataloader_pin_memory and self.args.device.type == "cuda",
        )

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This worker's batches."""
        return self._loader(self._data.rows, self.order, self.run.plan.spec.dataloader_num_workers)

    def begin_epoch(self, epoch: int) -> None:
        """Take the rows in the order of this epoch."""
        self.order.epoch = epoch

    # --- one step: `begin_step`, `training_step` for each batch, `_get_grad_norm`, `close_step`; then the weights move

    def begin_step(self) -> None:
        """Remember what the step changes before the weights move."""
        self._before_step = StepStart.of(self.run.window, self.current_flos)

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
        self.run.check_batch()
        self.run.batches.advance()
        assert num_items_in_batch is not None, "the loss must be normalised by trained tokens"
        counts = take_counts(inputs)
        self.run.window.tokens += counts.tokens
        parts = split(inputs, counts.lengths) if self._splits else [inputs]
        self.run.window.places += sum(part["input_ids"].numel() for part in parts)
        self.run.window.rows += counts.examples
        self._step_targets = float(num_items_in_batch)
        losses = []
        for number, part in enumerate(parts, start=1):
            if self.args.world_size == 1 and number > 1:
                self.run.check_batch()
                self.run.batches.advance()
            # Workers add up their gradients once, with the last part.
            alone = self.accelerator.no_sync(model) if number < len(parts) else nullcontext()
            with alone:
                losses.append(super().training_step(model, part, num_items_in_batch))
        loss = torch.stack(losses).sum() if len(losses) > 1 else losses[0]
        self._step_loss += loss
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        if build_optimizer.moves_in_backward(self.run.plan.spec):
            return None  # the gradients are gone
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self._step_norm = float(norm) if norm is not None else None
        return norm

    def close_step(self) -> None:
        """Add the step to the window, and leave the weights' evaluation, before they move.

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
            self.run.outlet.emit(_STILL)
        # Each worker holds its share of the sum, scaled by the number of workers.
        self.run.window.loss += loss * self._step_targets / self.args.world_size
        self.run.window.targets += self._step_targets
        self.run.window.supervised_total += self._step_targets
        self.run.leave_evaluation()

    # --- a stop before the end

    def stop_in_step(self) -> None:
        """Forget the step that was given up, and save the last whole one, unless it is saved."""
        before = self._before_step
        before.restore_random_states()
        self.run.window, self.current_flos = before.window, before.operations
        self.model.zero_grad(set_to_none=True)
        self._step_loss.zero_()
        self.save_and_stop()

    def save_and_stop(self) -> None:
        """Save the last whole step, after which the run is left, unless it is saved."""
        self.close_window()
        if self.is_world_process_zero():
            self.run.report_progress(self.state)
        if self.state.global_step and self.run.saved_step != self.state.global_step:
            self._save_checkpoint(self.model_wrapped, None)
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)

    # --- what is reported

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Report the window. Called by the Trainer at the steps that `RunCallback` names, and once at the end."""
        if "train_loss" in logs:  # the Trainer's own summary
            return
        window = self.run.window
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
        self.report(values)
        window.restart()
        # The Trainer keeps every line it ever logged in the checkpoint; the event log has them already.
        self.state.log_history.clear()
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, logs)

    def close_window(self) -> None:
        """Report what the window holds: the run ends between two log lines."""
        if self.run.window.targets > 0:
            self.log({"learning_rate": self._get_learning_rate()})

    def report(self, values: dict[str, float]) -> None:
        """Emit measurements at the current step."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self.run.latest |= {name: value for name, value in finite.items() if name in _CHECKPOINT_METRICS}
        if self.is_world_process_zero():
            self.run.outlet.emit(Metrics(step=self.state.global_step, values=finite))

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """What the evaluation rows say, batch by batch.

        Raises:
            EvaluationInterrupted: A stop is wanted; nothing was measured.
        """
        rows = self._data.eval_rows
        assert rows is not None
        spec = self.run.plan.spec
        batches, own, common = EvaluationBatches.of(
            rows.lengths,
            spec.per_device_eval_batch_size or spec.per_device_train_batch_size,
            world=self.args.world_size,
            rank=self.args.process_index,
            is_in_step=zero.stage_of(self.args) == 3,
        )
        was_training = self.model.training
        self.model.eval()
        scores = self._data.scores(self.args.device)
        try:
            with (
                self.run.outlet.activities.doing(
                    ActivityKind.EVALUATING, Unit.BATCHES, len(batches)
                ) as doing,
                build_optimizer.evaluating(self.optimizer),
                torch.no_grad(),
            ):
                for number, batch in enumerate(self._loader(rows, batches)):
                    self.run.check_evaluated_batch(is_common=number < common)
                    inputs = self._prepare_inputs(batch)
                    lengths = take_counts(inputs).lengths
                    counted = scores.sums.clone()
                    is_unpacked = getattr(self._collator, "is_unpacked", False)
                    for part in split(inputs, lengths) if is_unpacked and self._splits else [inputs]:
                        with self.compute_loss_context_manager():
                            scores.add(self.model, part)
                    if number >= own:
                        scores.sums = counted
                    doing.advance()
        finally:
            self.model.train(was_training)
        if self.args.world_size > 1:
            scores.sums = self.accelerator.reduce(scores.sums, reduction="sum")
        values = scores.values()
        self.report(values)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, values)
        return values

    def evaluate_late(self) -> None:
        """Do the evaluation that was given up when the state that is gone on from was saved, as if done then."""
        step = self.state.global_step
        # The library's own way: a schedule that looks at evaluations (a plateau's) counts this one too.
        self._evaluate(None, None)
        self.run.evaluation.keep(step)
        if self.is_world_process_zero():
            self.uploader.report_again(step, self.run.latest, best_step=self.run.evaluation.kept_step)

    def report_start(self) -> None:
        """See that the checkpoint gone on from is listed, with what was measured before it."""
        if self.is_world_process_zero():
            found = self.run.evaluation
            self.uploader.report_unlisted(self.state.global_step, found.measured, best_step=found.kept_step)

    def answer_samples(self) -> None:
        """Have the sample prompts answered by the first worker, once a step; the others go on to where they wait."""
        step = self.state.global_step
        if not self.is_world_process_zero() or self.run.stopped or not self._samples.is_due(step):
            return
        kept, computing = build_optimizer.as_evaluated(self.optimizer), self.compute_loss_context_manager()
        stage = zero.stage_of(self.args)
        with self.run.outlet.activities.doing(ActivityKind.ANSWERING, Unit.ROWS, self._samples.count), kept:
            said = self._samples.answer(self.model, step, computing, lambda: self.run.wants_stop, stage=stage)
        if said is not None:
            self.run.outlet.emit(said)

    def hand_over_checkpoint(self) -> None:
        """Let the uploader store the checkpoint of this step, once every worker's part is there."""
        step, world = self.state.global_step, self.args.world_size
        folder = Path(str(self.args.output_dir)) / checkpoint_name(step)
        expected = [folder / random_file(rank, world) for rank in range(world)]
        self.uploader.submit(
            step,
            folder,
            self.run.latest,
            ready=lambda: world <= 1 or all(file.exists() for file in expected),
            best_step=self.run.evaluation.kept_step,
            files=self.files,
            written=self.snapshots.release,
        )
