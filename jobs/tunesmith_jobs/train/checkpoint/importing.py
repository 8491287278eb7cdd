"""A checkpoint that Hugging Face's Trainer wrote, as one of ours: safetensors, JSON and a manifest.

What is a pickle there is read as tensors and plain values alone; whatever else one holds ends the reading of that file.
Run as a program, in a process of its own with bounds: `python -m tunesmith_jobs.train.checkpoint.importing FROM TO`.
Knows the files of both; what a run does with them, `restore` knows.
"""

import json
import os
import re
import resource
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunesmith.artifacts import MANIFEST, Manifest, list_files
from tunesmith.errors import InvalidInput, TunesmithError
from tunesmith.model_folder import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    INDEX,
    TOKENIZER_FILES,
    WEIGHTS,
    read_safetensors_header,
    without_folders,
)
from tunesmith.model_folder.layers import embedding_rows
from tunesmith.removal import lay, staged
from tunesmith.rows.files.json_file import read_object
from tunesmith.state_of import STATE_OF_FILE, StateOf
from tunesmith_jobs.models.reading import read_torch
from tunesmith_jobs.train.checkpoint import states
from tunesmith_jobs.train.checkpoint.restore import STATE_FILE, WINDOW_FILE
from tunesmith_jobs.train.checkpoint.snapshots import OPTIMIZER_FILE
from tunesmith_jobs.train.run.evaluation_state import EvaluationState
from tunesmith_jobs.train.run.plan import Window

OWNER = "checkpoints-import"
_OPTIMIZER, _SCHEDULE, _SCALER, _ARGUMENTS = "optimizer.pt", "scheduler.pt", "scaler.pt", "training_args.bin"
_RANDOM = re.compile(r"rng_state(?:_(\d+))?\.pth")
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_KEPT = (
    "epoch", "global_step", "max_steps", "num_train_epochs", "num_input_tokens_seen", "total_flos", "log_history",
    "logging_steps", "eval_steps", "save_steps", "train_batch_size", "is_local_process_zero", "is_world_process_zero",
)  # fmt: skip
"""What of the Trainer's state means the same here."""
_SHOULD = ("should_training_stop", "should_epoch_stop", "should_save", "should_evaluate", "should_log")
_CONTROL = {"TrainerControl": {"args": dict.fromkeys(_SHOULD, False), "attributes": {}}}
"""What is asked of the loop at the moment: nothing, also where their run was over."""
_MOST_JSON = 64 * 2**20
_CPU_SECONDS = 1800
_BYTES_BESIDES = 48 * 2**30
"""Address space that libraries reserve and never fill."""
_WRONG = (ValueError, OSError, KeyError, TypeError, IndexError, AttributeError, RuntimeError, EOFError)


class _Import:
    """One checkpoint on its way.

    Args:
        source: Its folder.
        target: An empty folder.
    """

    def __init__(self, source: Path, target: Path) -> None:
        self._source, self._target = source, target
        self.lost: list[str] = []
        """What is not in the new one, and what that means."""

    def all(self) -> int:
        """Bring over everything; its step.

        Raises:
            InvalidInput: It is no checkpoint of the Trainer's, or cannot be gone on from.
        """
        step = self._state()
        self._weights()
        self._optimizer()
        self._schedule()
        self._random_numbers()
        for name in (*TOKENIZER_FILES, "generation_config.json", "chat_template.jinja"):
            if _is_file(self._source / name):
                shutil.copyfile(self._source / name, self._target / name)
        (self._target / WINDOW_FILE).write_text(json.dumps(asdict(Window())))
        EvaluationState().write(self._target)
        if (self._source / _ARGUMENTS).exists():
            self.lost.append(
                f"`{_ARGUMENTS}` is a pickle of a program's class: give the same parameters yourself (learning rate, "
                "schedule, batch, weight decay, optimizer)."
            )
        self.lost.append(
            "Which rows were trained already: rows go on from this step in the order that `seed` draws here."
        )
        manifest = Manifest(task_id=OWNER, attempt=1, step=step, files=list_files(self._target))
        (self._target / MANIFEST).write_bytes(manifest.encode())
        return step

    def _state(self) -> int:
        file = self._source / STATE_FILE
        if not _is_file(file) or file.stat().st_size > _MOST_JSON:
            raise _refused(
                f"`{self._source}` is no checkpoint of Hugging Face's Trainer: it has no `{STATE_FILE}`."
            )
        if any(self._source.glob("global_step*")) or any(self._source.glob("*_0")):
            raise _refused(
                f"`{self._source}` holds an optimizer in parts (DeepSpeed or FSDP), which only the same library reads."
            )
        try:
            found = json.loads(file.read_bytes())
            step = int(found["global_step"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _refused(f"`{STATE_FILE}` cannot be read: {error}.") from error
        if set(found.get("stateful_callbacks") or {}) - {"TrainerControl"}:
            self.lost.append("The state of callbacks (early stopping begins anew).")
        if found.get("best_model_checkpoint"):
            self.lost.append("Which checkpoint was the best: it is another folder's.")
        kept = {name: found[name] for name in _KEPT if name in found} | {"stateful_callbacks": _CONTROL}
        (self._target / STATE_FILE).write_text(json.dumps(kept, indent=2))
        return step

    def _weights(self) -> None:
        source = self._source
        if _is_file(source / ADAPTER_CONFIG):
            # Where the base lay on the machine that wrote it is nobody's business, and decides nothing here.
            config = without_folders(read_object(source / ADAPTER_CONFIG, _MOST_JSON))
            (self._target / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2))
            self._one(ADAPTER_WEIGHTS, "adapter_model.bin")
            return
        if not _is_file(source / "config.json"):
            raise _refused(
                f"`{source}` holds neither a LoRA (`{ADAPTER_CONFIG}`) nor a model (`config.json`)."
            )
        shutil.copyfile(source / "config.json", self._target / "config.json")
        shards = [file for file in source.iterdir() if _SHARD.fullmatch(file.name) and _is_file(file)]
        if shards and _is_file(source / INDEX):
            for file in (*shards, source / INDEX):
                shutil.copyfile(file, self._target / file.name)
            return
        self._one(WEIGHTS, "pytorch_model.bin")

    def _one(self, name: str, old: str) -> None:
        """The weights in one file; what torch wrote becomes safetensors."""
        from safetensors.torch import save_file

        if _is_file(self._source / name):
            shutil.copyfile(self._source / name, self._target / name)
            return
        if not _is_file(self._source / old):
            raise _refused(f"`{self._source}` has neither `{name}` nor `{old}`.")
        read = self._read(old)
        tensors: dict[str, Any] = {}
        seen: set[int] = set()
        for key, tensor in read.items():
            if tensor.data_ptr() not in seen:  # tied weights: one of them is kept, as safetensors has it
                tensors[str(key)] = tensor.contiguous()
            seen.add(tensor.data_ptr())
        save_file(tensors, self._target / name, {"format": "pt"})

    def _rows(self) -> int | None:
        """The rows of the embedding, where the weights hold one: peft saves it where the vocabulary was resized."""
        return embedding_rows(
            {
                name: tensor.shape
                for file in sorted(self._target.glob("*.safetensors"))
                for name, tensor in read_safetensors_header(file).items()
                if ".lora_" not in name
            }
        )

    def _optimizer(self) -> None:
        if not _is_file(self._source / _OPTIMIZER):
            raise _refused(f"`{self._source}` has no `{_OPTIMIZER}`: its run saved the model alone.")
        found = self._read(_OPTIMIZER)
        # So that going on under another one, or over another vocabulary, is refused, and not in the middle of a step.
        kind = _optimizer_of(found)
        state = StateOf(parameters={"optim": kind} if kind else {}, rows=self._rows())
        (self._target / STATE_OF_FILE).write_bytes(state.encode())
        try:
            states.write_tensors(self._target / OPTIMIZER_FILE, found)
        except states.Unfit as error:
            raise _refused(f"The optimizer's state holds {error}, which no checkpoint here holds.") from error

    def _schedule(self) -> None:
        for old, name, what in (
            (_SCHEDULE, states.SCHEDULE_FILE, "schedule"),
            (_SCALER, states.SCALER_FILE, "scaler of fp16's losses"),
        ):
            if _is_file(self._source / old):
                self._try(
                    what,
                    lambda old=old, name=name: states.write_json(
                        self._target / name, _plain(self._read(old))
                    ),
                )  # type: ignore[misc]
        if not (self._target / states.SCHEDULE_FILE).is_file():
            raise _refused(f"`{self._source}` has no `{_SCHEDULE}` that can be read.")

    def _random_numbers(self) -> None:
        files = {file: match for file in self._source.iterdir() if (match := _RANDOM.fullmatch(file.name))}
        for file, match in files.items():
            name = states.random_file(int(match[1] or 0), 1 if match[1] is None else 2)

            def write(file: Path = file, name: str = name) -> None:
                found = self._read(file.name)
                kind, keys, *rest = found["numpy"]
                kept = {**found, "numpy": (kind, [int(key) for key in keys], *rest)}
                states.write_tensors(self._target / name, kept)

            self._try("state of random numbers (dropout draws others)", write)
        if not files:
            self.lost.append("The state of random numbers (dropout draws others): it was not saved.")

    def _read(self, name: str) -> Any:
        """A pickle as tensors and plain values.

        Raises:
            InvalidInput: It holds anything else.
        """
        try:
            return read_torch(self._source / name)
        except _WRONG as error:
            words = str(error).split("\n")[0][:200] or type(error).__name__
            raise InvalidInput(
                f"`{name}` cannot be read as tensors and plain values: {words}.",
                hint="Start from its weights (`attach_lora_path`, or `model_name_or_path`), with a new optimizer.",
            ) from error

    def _try(self, what: str, write: Callable[[], None]) -> None:
        try:
            write()
        except (states.Unfit, InvalidInput, *_WRONG) as error:
            self.lost.append(f"The {what}: {error}")


def take_up(source: Path, target: Path) -> tuple[int, list[str]]:
    """Write a checkpoint of the Trainer's as one of ours.

    Args:
        source: Its folder.
        target: The new one's; it appears whole or not at all.

    Returns:
        Its step, and what was lost.

    Raises:
        InvalidInput: It is none, or cannot be gone on from.
        NotOurs: Something stands at the target that no import made.
    """
    if not source.is_dir():
        raise _refused(f"`{source}` is no folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with staged(target, OWNER) as part:
        work = _Import(source, part)
        step = work.all()
        lay(part, target, OWNER)
    return step, work.lost


def _optimizer_of(found: Any) -> str | None:
    """Which optimizer a state is of, by the numbers that only its kind keeps; None where several keep the same."""
    groups = found.get("param_groups") if isinstance(found, dict) else None
    group = groups[0] if groups and isinstance(groups[0], dict) else {}
    kept = next(iter(found["state"].values()), {}) if group and found.get("state") else {}
    if "amsgrad" in group and "exp_avg" in kept:
        return "adamw_torch"
    return next(
        (name for key, name in (("dampening", "sgd"), ("scale_parameter", "adafactor")) if key in group), None
    )


def _plain(value: Any) -> Any:
    """A schedule's state without what is a program: its functions are made anew from the parameters."""
    if isinstance(value, dict):
        return {
            key: [None for _ in one] if key == "lr_lambdas" else _plain(one) for key, one in value.items()
        }
    return value


def _is_file(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()


def _refused(message: str) -> InvalidInput:
    return InvalidInput(
        message,
        hint="A folder `checkpoint-<step>` of `transformers.Trainer` is taken; of weights alone a new training starts, "
        "with `attach_lora_path` or `model_name_or_path`.",
    )


def _bound(source: Path) -> None:
    """Give this process as much as such a checkpoint needs, and no more."""
    size = sum(file.stat().st_size for file in source.iterdir() if file.is_file()) if source.is_dir() else 0
    for what, limit in (
        (resource.RLIMIT_CPU, _CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 2 * size + 2**30),
        (resource.RLIMIT_AS, 4 * size + _BYTES_BESIDES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def main() -> None:
    """Take up the checkpoint that the arguments name; say how it went as one line of JSON."""
    source, target = map(Path, sys.argv[1:3])
    _bound(source)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        step, lost = take_up(source, target)
        said: dict[str, Any] = {"step": step, "path": str(target), "lost": lost}
    except TunesmithError as error:
        said = {"error": error.message, "hint": error.hint}
    except (MemoryError, OSError) as error:
        said = {"error": f"It could not be written: {error}.", "hint": "Look at the room on the disk."}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
