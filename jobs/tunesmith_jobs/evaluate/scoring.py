"""A model's loss on rows, and how often it predicts a token: by the trainer's own encoding, batches and loss.

Knows torch and the trainer's modules; knows nothing of who asks.
"""

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn.functional import linear

from tunesmith.activity import ActivityKind, Unit
from tunesmith.events import Metrics, Phase, Warned
from tunesmith.lifecycle import Reason
from tunesmith.model_step import METRIC_PREFIX
from tunesmith.outcome import Outcome
from tunesmith.rows.tokens.encoding import IGNORE_INDEX
from tunesmith.spec.evaluation import EvaluateSpec
from tunesmith_jobs.batches.collate import ClassCollator, Collator, take_counts
from tunesmith_jobs.batches.encoded import Loaded
from tunesmith_jobs.batches.inputs import load_held_out
from tunesmith_jobs.batches.microbatch import split
from tunesmith_jobs.batches.packing import BlockRows, PackedRows
from tunesmith_jobs.batches.rows import Samples
from tunesmith_jobs.batches.token_cache import TokenCache
from tunesmith_jobs.model_work import Work
from tunesmith_jobs.models import build as models
from tunesmith_jobs.models.isolation import sees_neighbours
from tunesmith_jobs.models.libraries import speed_up
from tunesmith_jobs.models.loading import UsedModel, load
from tunesmith_jobs.models.scores import ClassScores, Scores, TokenScores

_PIECE_ELEMENTS = 2**24
"""Logits that are looked at at once, in numbers."""


class TokenAccuracy(TokenScores):
    """The trainer's mean loss, and the share of trained tokens that the model finds most likely.

    The sums are [loss, labels, hits].
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)

    def add(self, model: Any, inputs: dict[str, Any]) -> None:
        """See `Scores`."""
        with _hidden_states(model) as seen:
            outputs = model(**inputs, num_items_in_batch=1)
        self.sums[0] += outputs.loss.double()
        targets = inputs["labels"][:, 1:]
        picked = targets != IGNORE_INDEX
        goals = targets[picked]
        self.sums[1] += picked.sum()
        if getattr(outputs, "logits", None) is not None:
            self.sums[2] += (outputs.logits[:, :-1][picked].argmax(dim=-1) == goals).sum()
            return
        # The loss was computed from the hidden states of trained positions: so is this, without the whole logits.
        head = _causal(model).get_output_embeddings()
        states = seen[-1][:, :-1][picked]
        size = max(1, _PIECE_ELEMENTS // head.weight.shape[0])
        for begin in range(0, len(states), size):
            piece = states[begin : begin + size].to(head.weight.dtype)
            answers = linear(piece, head.weight, head.bias).argmax(dim=-1)
            self.sums[2] += (answers == goals[begin : begin + size]).sum()

    def values(self) -> dict[str, float]:
        """See `Scores`."""
        tokens = float(self.sums[1])
        return super().values() | {
            "eval_token_accuracy": float(self.sums[2]) / max(tokens, 1.0),
            "eval_tokens": tokens,
        }


def evaluate(work: Work, spec: EvaluateSpec) -> Outcome:
    """Measure a model, and report what was measured.

    Raises:
        InvalidData: A row cannot be used.
        InvalidModel: The model cannot be loaded.
    """
    document = work.document
    assert document.data_path is not None
    # The model first: a whole classifier's own configuration names the classes.
    used = load(document, work.training, work.scratch, is_measured=True)
    speed_up(used.model, work.training, SimpleNamespace(classes=used.classes), used.choice)
    work.phase_done(Phase.WEIGHTS)
    rows, loaded = load_held_out(
        work.training,
        Path(document.encoder_path),
        Path(document.data_path),
        Path(document.tokenizer_path) if document.tokenizer_path else None,
        classes=used.classes,
        cache=TokenCache.at(Path(document.work_dir).parent / "tokens"),
        said=lambda rows, of: work.check(),
    )
    for warning in _warnings(loaded, work.training.max_length):
        work.outlet.emit(warning)
    work.phase_done(Phase.DATA)
    began = time.perf_counter()
    values = measure(work, used, rows, spec.per_device_eval_batch_size)
    values["eval_rows"] = float(len(loaded.rows))
    finite = {name: value for name, value in values.items() if math.isfinite(value)}
    work.outlet.emit(Metrics(step=document.step, values=finite))
    seconds = time.perf_counter() - began
    return Outcome.because(Reason.COMPLETED, f"{_words(values)} in {seconds:.1f} s.")


def measure(work: Work, used: UsedModel, rows: Samples, size: int) -> dict[str, float]:
    """What rows say of a model, batch by batch, the long ones first."""
    scores: Scores = (
        ClassScores(used.device, len(used.classes)) if used.classes else TokenAccuracy(used.device)
    )
    pad = models.pad_id(used.model)
    collate = ClassCollator(pad) if used.classes else Collator(pad)
    if isinstance(collate, Collator) and isinstance(rows, PackedRows | BlockRows):
        with used.autocast():
            collate.is_unpacked = sees_neighbours(used.model, min(2, size))
    lengths = rows.lengths
    # As the trainer deals them: like lengths beside each other.
    order = sorted(range(len(rows)), key=lambda row: -int(lengths[row]))
    work.report(0, len(order))
    with (
        work.outlet.activities.doing(ActivityKind.EVALUATING, Unit.ROWS, len(order)) as doing,
        torch.no_grad(),
    ):
        for first in range(0, len(order), size):
            batch = collate([rows[row] for row in order[first : first + size]])
            lengths = take_counts(batch).lengths
            inputs = {
                name: value.to(used.device) if isinstance(value, torch.Tensor) else value
                for name, value in batch.items()
            }
            for part in split(inputs, lengths) if getattr(collate, "is_unpacked", False) else [inputs]:
                with used.autocast():
                    scores.add(used.model, part)
            doing.done = min(first + size, len(order))
            work.report(min(first + size, len(order)), len(order))
    return scores.values()


def _causal(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@contextlib.contextmanager
def _hidden_states(model: Any) -> Iterator[list[torch.Tensor]]:
    """The decoder's last hidden states of each pass, as long as the context lasts."""
    seen: list[torch.Tensor] = []
    decoder = getattr(_causal(model), "get_decoder", lambda: None)()

    def keep(_: Any, __: Any, outputs: Any) -> None:
        seen.append(outputs.last_hidden_state)

    handle = decoder.register_forward_hook(keep) if decoder is not None else None
    try:
        yield seen
    finally:
        if handle is not None:
            handle.remove()


def _warnings(loaded: Loaded, max_length: int) -> Iterator[Warned]:
    for count, code, words in (
        (loaded.skipped, "rows_skipped", "bad rows are left out."),
        (
            loaded.dropped,
            "rows_without_labels",
            f"rows are left out: within {max_length} tokens nothing is trained.",
        ),
        (loaded.cut, "rows_cut", f"rows are longer than {max_length} tokens and were cut."),
    ):
        if count:
            yield Warned(
                code=code, message=f"{count} {words}", hint="The training would treat them the same way."
            )


def _words(values: dict[str, float]) -> str:
    shown = ("eval_loss", "eval_perplexity", "eval_token_accuracy", "eval_accuracy", "eval_f1")
    parts = [
        f"{name.removeprefix(METRIC_PREFIX).replace('_', ' ')} {values[name]:.4g}"
        for name in shown
        if name in values
    ]
    tokens = f"{values['eval_tokens']:.0f} tokens of " if "eval_tokens" in values else ""
    return f"{', '.join(parts)} over {tokens}{values['eval_rows']:.0f} rows"
