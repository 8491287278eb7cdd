"""How the Trainer writes and reads a checkpoint: tensors and JSON, never a pickle, and no file before it is whole.

Knows the Trainer's hooks and the formats; knows nothing of where a checkpoint is stored.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer

from tunesmith.activity import ActivityKind
from tunesmith.artifacts import checkpoint_name
from tunesmith.errors import InvalidInput
from tunesmith.model_folder import without_folders
from tunesmith.removal import remove_own
from tunesmith_jobs.activities import bytes_below
from tunesmith_jobs.batches.inputs import Data
from tunesmith_jobs.failures import StorageFailed
from tunesmith_jobs.models.build import copy_tokenizer
from tunesmith_jobs.models.older_readers import write_for_older_readers
from tunesmith_jobs.models.saved_adapter import save_adapter
from tunesmith_jobs.models.weights import written_in_pieces
from tunesmith_jobs.train.checkpoint import restore, states
from tunesmith_jobs.train.checkpoint.snapshots import OPTIMIZER_FILE, Snapshots
from tunesmith_jobs.train.checkpoint.uploading import BigFile
from tunesmith_jobs.train.run import build_optimizer
from tunesmith_jobs.train.run.state import RunState

ARGUMENTS_FILE = "training_args.json"
_ASKED = ("initial_lr", "weight_decay", "betas", "eps", "momentum")
"""What of an optimizer's groups its user sets; another task's checkpoint brings its own, which nobody asked for."""


class CheckpointingTrainer(Trainer):  # type: ignore[misc]
    """The Trainer with checkpoints of our own; which of its methods that takes is said at `TuneTrainer`."""

    run: RunState
    snapshots: Snapshots
    files: list[BigFile]
    """What the uploader still has to write of the newest checkpoint."""
    _data: Data
    _save_failed: Exception | None = None

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
        if hasattr(model, "peft_config"):
            save_adapter(model, folder, base=self.run.plan.base, state=state_dict)
        else:
            with written_in_pieces():
                model.save_pretrained(folder, state_dict=state_dict)
        if self.run.plan.tokenizer is not None and not hasattr(model, "peft_config"):
            copy_tokenizer(self.run.plan.tokenizer, folder, self._data.chosen_template)
        write_for_older_readers(folder)
        (folder / ARGUMENTS_FILE).write_text(_public(self.args.to_json_string()))
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
            self.run.outlet.activities.doing(ActivityKind.SAVING, measure=lambda: bytes_below(folder)),
            build_optimizer.evaluating(self.optimizer),
        ):
            super()._save_checkpoint(model, trial)
            self._agree_on_save()
            self.files = self.snapshots.take()
        self.run.keep(self.state.global_step)
        if self.args.should_save:
            self.run.write(folder)
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
        with restore.as_bad_checkpoint(resume_from_checkpoint):
            restore.load_weights(self.model if model is None else model, Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        scheduler = self.lr_scheduler
        with restore.as_bad_checkpoint(checkpoint):
            if not self.is_deepspeed_enabled:  # which has loaded its own
                asked = [dict(group) for group in self.optimizer.param_groups]
                self.optimizer.load_state_dict(restore.optimizer_state(Path(checkpoint), self.run.is_own))
                if not self.run.is_own:
                    _ask_again(self.optimizer.param_groups, asked)
            if not restore.is_deepspeeds(scheduler):
                rates = getattr(scheduler, "base_lrs", None)
                schedule = restore.schedule_state(Path(checkpoint), self.run.is_own)
                if ("lr_lambdas" in schedule) != ("lr_lambdas" in scheduler.state_dict()):
                    raise ValueError(
                        "its learning rate followed a schedule of another kind than "
                        f"`lr_scheduler_type={self.args.lr_scheduler_type.value}`"
                    )
                scheduler.load_state_dict(schedule)
                if not self.run.is_own and rates is not None:
                    scheduler.base_lrs = rates
        if self.is_deepspeed_enabled or not hasattr(scheduler, "lr_lambdas"):
            return
        # The optimizer comes back with the rate of the schedule as it was; a run that its user lets go on for
        # longer has a longer one. Where nothing changed this is the same number.
        rates = zip(self.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
        for group, base, at in rates:
            group["lr"] = base * at(scheduler.last_epoch)
        scheduler._last_lr = [group["lr"] for group in self.optimizer.param_groups]  # what is logged

    def _load_scaler(self, checkpoint: str | None) -> None:
        scaler = getattr(self.accelerator, "scaler", None)
        if checkpoint is not None and scaler is not None:
            with restore.as_bad_checkpoint(checkpoint):
                state = restore.scaler_state(Path(checkpoint), self.run.is_own)
                if state is not None:
                    scaler.load_state_dict(state)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        with restore.as_bad_checkpoint(checkpoint):
            found = restore.random_states(
                Path(checkpoint), self.run.is_own, self.args.process_index, self.args.world_size
            )
            if found is not None:  # else as many workers saved as do not train now
                states.set_random_states(found)


def _public(arguments: str) -> str:
    """The arguments as JSON, without the folders of this machine: checkpoints are published."""
    return json.dumps(without_folders(json.loads(arguments)), indent=2)


def _ask_again(groups: Sequence[dict[str, Any]], asked: Sequence[Mapping[str, Any]]) -> None:
    """Put back what this run's parameters say of the optimizer."""
    for group, own in zip(groups, asked, strict=True):
        group.update({name: own[name] for name in _ASKED if name in own})
