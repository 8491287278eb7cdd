"""Everything a run reads: the training rows, the evaluation rows, their encoder, and what is to be said of them.

The one place where the data parameters of a spec meet the files. Knows nothing of the model's weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tunesmith.rows.choosing import encoder_of
from tunesmith.rows.labels import check_classes
from tunesmith.rows.microscope import FIRST_ROWS, row_sha256
from tunesmith.rows.reading import RowFile
from tunesmith.rows.shapes import shape_of
from tunesmith.rows.template import ChatTemplate
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.train.collate import ClassCollator, Collator
from tunesmith_jobs.train.evaluation import ClassScores, Scores, TokenScores
from tunesmith_jobs.train.packing import BlockRows, PackedRows
from tunesmith_jobs.train.rows import Loaded, Rows, Samples, hold_out, load_classes, load_rows


@dataclass(frozen=True)
class Data:
    """What a run trains and evaluates on."""

    rows: Samples
    eval_rows: Samples | None
    examples: int
    """Rows or documents that are trained on, before they are packed."""
    eval_examples: int
    cut: int
    dropped: int
    classes: tuple[str, ...] = ()
    """Names of the classes in the order of their numbers; empty where nothing is classified."""
    template: ChatTemplate | None = None
    """The chat template that the rows were written with; None where they are texts."""
    first_rows_sha256: tuple[str, ...] = ()
    """Sums of the first rows as they are trained; the microscope shows the same of these rows."""
    chosen_template: str | None = None
    """The text of that template, where it is not the one that lies beside the tokenizer."""

    def collator(self, pad_id: int) -> Collator | ClassCollator:
        """Makes the batches."""
        return ClassCollator(pad_id) if self.classes else Collator(pad_id)

    def scores(self, device: torch.device) -> Scores:
        """Fresh sums for one evaluation."""
        return ClassScores(device, len(self.classes)) if self.classes else TokenScores(device)

    def facts(self) -> dict[str, Any]:
        """What was read, for the task's page."""
        facts: dict[str, Any] = {
            "rows": self.examples,
            "rows_cut": self.cut,
            "rows_dropped": self.dropped,
            "sequences": len(self.rows),
            "eval_rows": self.eval_examples,
            "tokens": self.rows.tokens,
            "supervised_tokens": self.rows.supervised,
            "first_rows_sha256": list(self.first_rows_sha256),
        }
        return facts | ({"classes": list(self.classes)} if self.classes else {})


def load_data(
    spec: TrainSpec, model: Path, train: Path, evaluation: Path | None, tokenizer: Path | None
) -> Data:
    """Read and encode what a run is given.

    Args:
        spec: The parameters.
        model: The model's folder.
        train: The training file.
        evaluation: The evaluation file, where there is one.
        tokenizer: Another folder whose tokenizer is used instead of the model's.

    Raises:
        InvalidData: A file or a row cannot be used.
        InvalidModel: The tokenizer or the chat template is missing or broken.
        InvalidInput: The chosen chat template does not fit.
    """
    template: ChatTemplate | None = None
    classes: tuple[str, ...] = ()

    def load(path: Path, samples: int) -> Loaded:
        nonlocal template, classes
        shape = shape_of(RowFile(path), spec)
        encoder = encoder_of(spec, shape, model, tokenizer)
        template = template or encoder.template
        if spec.training_type != "classification":
            return load_rows(path, encoder, samples, spec.seed, shape)
        loaded, found = load_classes(
            path, encoder, shape, max_samples=samples, seed=spec.seed, known=classes or None
        )
        if not classes:
            check_classes(found, shape.label)
        classes = found
        return loaded

    loaded = load(train, spec.max_samples)
    rows, held_out = loaded.rows, None
    if evaluation is not None:
        held_out = load(evaluation, 0).rows
    elif spec.eval_sampling_ratio:
        rows, held_out = hold_out(rows, spec.eval_sampling_ratio, spec.seed)
    arrange = _arrange(spec)
    return Data(
        rows=arrange(rows),
        eval_rows=arrange(held_out) if held_out is not None else None,
        examples=len(rows),
        eval_examples=len(held_out) if held_out is not None else 0,
        cut=loaded.cut,
        dropped=loaded.dropped,
        classes=classes,
        template=template,
        first_rows_sha256=_first_rows(loaded.rows),
        chosen_template=template.source if template and (spec.chat_template or tokenizer) else None,
    )


def _first_rows(rows: Rows) -> tuple[str, ...]:
    first = (rows[i] for i in range(min(FIRST_ROWS, len(rows))))
    return tuple(row_sha256(row.input_ids.tolist(), row.labels.tolist()) for row in first)


def _arrange(spec: TrainSpec) -> Callable[[Rows], Samples]:
    """How rows become what a batch is made of."""
    if spec.training_type == "pretrain":
        return lambda rows: BlockRows(rows, spec.max_length)
    if spec.packing and spec.training_type == "sft":
        return lambda rows: PackedRows(rows, spec.max_length)
    return lambda rows: rows
