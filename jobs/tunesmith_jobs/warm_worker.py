"""The warm worker: a process that has done, before a task is known, what every task does first.

It imports what training imports, and rehearses: a training of one step on a model made up on the spot loads whatever is
loaded on first use. It reserves nothing and touches no GPU until it is given a task, and takes one task in its life.
Others may train meanwhile: it warms up with what processor time they leave, and only where there is memory to spare.
"""

import contextlib
import json
import logging
import math
import os
import tempfile
import threading
from pathlib import Path

import psutil

from tunesmith.outcome import Outcome
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.memory import spare_share
from tunesmith_jobs.train import worker
from tunesmith_jobs.train.core import Identity, Paths, train

WARM_BYTES = 2**30
"""What a warm runner holds, with its driver."""
_LEAST_SHARE = 0.08
"""Of the memory, to be left to others. Ray ends processes, perhaps one that trains, at a twentieth."""
_NICENESS = 19
_log = logging.getLogger("tunesmith_jobs.warm")
_TEMPLATE = "{% for message in messages %}{{ '<s>' + message['role'] + ' ' + message['content'] + '</s>' }}{% endfor %}"


class Worker:
    """What the driver calls; Ray's actor. It ends with its driver."""

    def warm(self, cpus: float, has_gpus: bool) -> None:
        """Import, and rehearse.

        Args:
            cpus: How many processors the task will probably have.
            has_gpus: Whether tasks may get a GPU. Which one is known only with the task: none is touched until then.
        """
        if not self.has_room(WARM_BYTES):
            return
        # In a thread, because a priority that was lowered cannot be raised again; all that trains is new threads of
        # the main one's.
        thread = threading.Thread(target=self._warm, args=(cpus, has_gpus), name="warming")
        thread.start()
        thread.join()

    def _warm(self, cpus: float, has_gpus: bool) -> None:
        with contextlib.suppress(OSError):  # a system that knows no priority of a thread
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        # Makes `torch.cuda.is_available` ask the driver's library, which leaves CUDA uninitialised.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
        _set_threads(cpus)
        import peft  # noqa: F401
        import transformers

        transformers.utils.logging.disable_progress_bar()
        if has_gpus:
            return
        try:
            with tempfile.TemporaryDirectory(prefix="tunesmith-rehearsal-") as folder:
                rehearse(Path(folder))
        except Exception:
            _log.exception("the rehearsal failed; the first task does more itself")

    def has_room(self, beside: int = 0) -> bool:
        """Whether its node has memory for a process that only waits.

        Args:
            beside: Bytes that will be taken beside what is taken now.
        """
        return spare_share(beside) >= _LEAST_SHARE

    def work(self, uri: str, cpus: float, devices: str | None) -> bool:
        """Train an attempt.

        Args:
            uri: Of the job's document.
            cpus: How many processors are reserved for it.
            devices: The reserved GPUs, as in `CUDA_VISIBLE_DEVICES`.

        Returns:
            False when this process cannot use its GPUs: nothing was done.
        """
        _set_threads(cpus)
        if devices is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = devices
            if not _has_gpus(len(devices.split(","))):
                return False
        worker.work(uri, 0, 1)
        return True


def _has_gpus(count: int) -> bool:
    """Whether CUDA, which comes up only now, sees the reserved GPUs."""
    import torch

    try:
        torch.zeros(1, device="cuda")
    except (RuntimeError, AssertionError):
        _log.exception("CUDA does not come up in this process")
        return False
    return torch.cuda.device_count() == count


def visible_devices() -> str:
    """The GPUs that Ray gave the process that calls this."""
    return os.environ["CUDA_VISIBLE_DEVICES"]


def _set_threads(cpus: float) -> None:
    """Do what Ray does for a worker that reserves processors; for one that reserves none it has set 1."""
    try:
        ours = psutil.Process(os.getppid()).environ().get("OMP_NUM_THREADS")
    except psutil.Error:
        ours = None
    os.environ["OMP_NUM_THREADS"] = ours or str(max(1, math.floor(cpus)))


def rehearse(folder: Path) -> Outcome:
    """Train one step on a made-up model, so that all that training loads on first use is loaded."""
    model, rows = _make_model(folder / "model"), folder / "rows.jsonl"
    talk = [{"role": "user", "content": "one two"}, {"role": "assistant", "content": "two one"}]
    rows.write_text(json.dumps({"messages": talk}) + "\n")
    spec = TrainSpec.read(
        {
            "model_name_or_path": str(model),
            "train_file": str(rows),
            "max_steps": 1,
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": 1,
            "target_modules": ["all-linear"],
            "device": "cpu",
        }
    )
    paths = Paths(model, rows, None, str(folder / "artifacts"), folder / "scratch")
    outcome = train(spec, paths, worker.Silent(), Identity("rehearsal"))
    _log.info("rehearsed: %s %s", outcome.outcome, outcome.message)
    return outcome


def _make_model(folder: Path) -> Path:
    """The smallest language model there is, with a tokenizer of words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", "user", "assistant", "one", "two"]
    plain = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0]))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    plain.add_special_tokens(words[:3])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token=words[2], pad_token=words[2])
    tokenizer.chat_template = _TEMPLATE
    tokenizer.save_pretrained(folder)
    shape = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        LlamaForCausalLM(shape).save_pretrained(folder)
    return folder
