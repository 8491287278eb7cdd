"""Everything a run reads: the training rows, the evaluation rows, their encoder, and what is to be said of them.

The one place where the data parameters of a spec meet the files. Knows nothing of the model's weights.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tunesmith.events import Warned
from tunesmith.rows.chat.template import ChatTemplate
from tunesmith.rows.labels import check_classes
from tunesmith.rows.report.preview import FIRST_ROWS, row_sha256
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.batches.collate import ClassCollator, Collator
from tunesmith_jobs.batches.encoded import Loaded
from tunesmith_jobs.batches.packing import BlockRows, PackedRows
from tunesmith_jobs.batches.rows import Rows, Samples, hold_out
from tunesmith_jobs.batches.token_cache import Said, TokenCache, Use
from tunesmith_jobs.batches.tokenize import EncodingSource
from tunesmith_jobs.models.scores import ClassScores, Scores, TokenScores

_SHOWN = 5


@dataclass(frozen=True)
class Data:
    """What a run trains and evaluates on."""

    rows: Samples
    eval_rows: Samples | None
    examples: int
    """Rows or documents that are trained on, before they are packed."""
    eval_examples: int
    loaded: Loaded
    """What the training file gave."""
    eval_loaded: Loaded | None = None
    """What the evaluation file gave, where there is one."""
    cache: Use = "off"
    """What the token cache had to do with the training file."""
    classes: tuple[str, ...] = ()
    """Names of the classes in the order of their numbers; empty where nothing is classified."""
    template: ChatTemplate | None = None
    """The chat template that the rows were written with; None where they are texts."""
    first_rows_sha256: tuple[str, ...] = ()
    """Sums of the first rows as they are trained; the microscope shows the same of these rows."""
    chosen_template: str | None = None
    """The text of that template, where it is not the one that lies beside the tokenizer."""

    @property
    def is_packed(self) -> bool:
        """Whether a row may hold several documents."""
        return isinstance(self.rows, PackedRows | BlockRows)

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
            "rows_cut": self.loaded.cut,
            "rows_dropped": self.loaded.dropped,
            "rows_skipped": self.loaded.skipped,
            "sequences": len(self.rows),
            "eval_rows": self.eval_examples,
            "tokens": self.rows.tokens,
            "supervised_tokens": self.rows.supervised,
            "first_rows_sha256": list(self.first_rows_sha256),
            "token_cache": self.cache,
        }
        return facts | ({"classes": list(self.classes)} if self.classes else {})

    def warnings(self) -> Iterator[Warned]:
        """What a user should know of the rows."""
        for loaded in filter(None, (self.loaded, self.eval_loaded)):
            if loaded.skipped:
                first = "; ".join(f"{one.field}: {one.message}" for one in loaded.first_skipped[:_SHOWN])
                more = " ..." if len(loaded.first_skipped) > _SHOWN else ""
                yield Warned(
                    code="rows_skipped",
                    message=f"{loaded.skipped} bad rows are left out. {first}{more}"[:4000],
                    hint="`tunesmith data validate` lists them all.",
                )
        for one in self.loaded.findings:
            yield Warned(code=one.code, message=one.in_words(), hint=one.hint)
        if self.cache == "repaired":
            yield Warned(
                code="token_cache_damaged",
                message="The kept tokens of the training file were damaged, and were made anew.",
                hint="If it comes again, look at the disk of the node's work folder.",
            )


def load_data(
    spec: TrainSpec,
    model: Path,
    train: Path,
    evaluation: Path | None,
    tokenizer: Path | None,
    *,
    cache: TokenCache | None = None,
    said: Said = lambda rows, of: None,
) -> Data:
    """Read and encode what a run is given.

    Args:
        spec: The parameters.
        model: The model's folder.
        train: The training file.
        evaluation: The evaluation file, where there is one.
        tokenizer: Another folder whose tokenizer is used instead of the model's.
        cache: Where encoded files are kept.
        said: Told how far it is; what it raises ends the work.

    Raises:
        InvalidData: A file or a row cannot be used.
        InvalidModel: The tokenizer or the chat template is missing or broken.
        InvalidInput: The chosen chat template does not fit.
    """
    cache = cache or TokenCache(None)
    source = EncodingSource(train, spec, model, tokenizer, spec.max_samples)
    loaded, use = cache.load(source, said)
    if spec.training_type == "classification":
        check_classes(loaded.classes, source.shape.label)
    rows, held_out, eval_loaded = loaded.rows, None, None
    template = source.template
    if evaluation is not None:
        other = EncodingSource(evaluation, spec, model, tokenizer)
        eval_loaded = cache.load(other, said, loaded.classes or None).loaded
        held_out, template = eval_loaded.rows, template or other.template
    elif spec.eval_sampling_ratio:
        rows, held_out = hold_out(rows, spec.eval_sampling_ratio, spec.seed)
    arranged = arrange(spec)
    return Data(
        rows=arranged(rows),
        eval_rows=arranged(held_out) if held_out is not None else None,
        examples=len(rows),
        eval_examples=len(held_out) if held_out is not None else 0,
        loaded=loaded,
        eval_loaded=eval_loaded,
        cache=use,
        classes=loaded.classes,
        template=template,
        first_rows_sha256=_first_rows(loaded.rows),
        chosen_template=template.source if template and (spec.chat_template or tokenizer) else None,
    )


def load_held_out(
    spec: TrainSpec,
    model: Path,
    file: Path,
    tokenizer: Path | None,
    *,
    classes: tuple[str, ...] = (),
    cache: TokenCache | None = None,
    said: Said = lambda rows, of: None,
) -> tuple[Samples, Loaded]:
    """Read and encode rows that a trained model is measured on, as the training of `spec` reads its evaluation file.

    Raises:
        InvalidData: The file or a row cannot be used, or has a class that is none of `classes`.
    """
    source = EncodingSource(file, spec, model, tokenizer)
    loaded = (cache or TokenCache(None)).load(source, said, classes or None).loaded
    return arrange(spec)(loaded.rows), loaded


def _first_rows(rows: Rows) -> tuple[str, ...]:
    first = (rows[i] for i in range(min(FIRST_ROWS, len(rows))))
    return tuple(row_sha256(row.input_ids.tolist(), row.labels.tolist()) for row in first)


def arrange(spec: TrainSpec) -> Callable[[Rows], Samples]:
    """How rows become what a batch is made of."""
    if spec.training_type == "pretrain":
        return lambda rows: BlockRows(rows, spec.max_length)
    if spec.packing and spec.training_type == "sft":
        return lambda rows: PackedRows(rows, spec.max_length)
    return lambda rows: rows
