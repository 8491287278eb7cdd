"""What one Ray task of an evaluation of classifiers does: which class each takes a few texts for, and how surely.

As an answer counts the name of the likeliest class, and as the likelihood of the reference that of the expected class.
In 32 bits on a processor each text is computed by itself, so that no other text decides its bits. Knows torch and the
trainer's own way with labelled rows; knows nothing of who asks.
"""

import json
import time
from pathlib import Path
from typing import Any

from tunesmith.errors import InvalidData
from tunesmith.evaluation.results import Sample
from tunesmith.model_step import ModelDocument
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.evaluate import shard
from tunesmith_jobs.evaluate.answers import Known, as_json

_TEXT, _LABEL = "text", "label"
_LOADED: dict[tuple[str, str], Any] = {}
"""The classifier that this process has, by the task and the model's place."""


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Sort some samples' texts into classes.

    Args:
        order: As `shard.run` takes it; of `how` nothing counts.

    Returns:
        As `shard.run` does.

    Raises:
        InvalidModel: The candidate cannot be loaded.
        InvalidData: A text cannot be encoded.
    """
    began = time.monotonic()
    shard.prepare(order["cpus"])
    import torch

    from tunesmith_jobs.batches.collate import ClassCollator, take_counts
    from tunesmith_jobs.models.build import pad_id

    document = ModelDocument.model_validate_json(order["document"])
    questions = [shard.Question(*one) for one in order["questions"]]
    samples = [Sample.model_validate_json(one.sample) for one in questions]
    scratch = shard.own_folder(order["scratch"])
    used = _classifier(document, scratch)
    rows = _encoded(document, samples, used.classes, scratch)
    is_exact = used.choice.precision == "fp32" and used.choice.device == "cpu"
    size = 1 if is_exact else order["batch_size"]
    collate, found = ClassCollator(pad_id(used.model)), []
    for first in range(0, len(rows), size):
        batch = collate([rows[number] for number in range(first, min(first + size, len(rows)))])
        take_counts(batch)
        labels = batch.pop("labels")
        inputs = {
            name: value.to(used.device) if isinstance(value, torch.Tensor) else value
            for name, value in batch.items()
        }
        with torch.no_grad(), used.autocast():
            logs = used.model(**inputs).logits.float().log_softmax(-1).cpu()
        for number, (row, label) in enumerate(zip(logs, labels.tolist(), strict=True), start=first):
            text = used.classes[int(row.argmax())]
            found.append(
                Known(
                    key=questions[number].key, text=text, tokens=[], ended=True, nll=-float(row[label]),
                    reference_tokens=1,
                )
            )  # fmt: skip
    return {
        "answers": as_json(found),
        "seconds": time.monotonic() - began,
        "precision": used.choice.precision,
    }


def _classifier(document: ModelDocument, scratch: Path) -> Any:
    from tunesmith_jobs.models.loading import load

    key = (document.task_id, document.model_uri)
    if key not in _LOADED:
        shard.forget()
        _LOADED.clear()  # one at a time
        training = TrainSpec.stored(document.training)
        _LOADED[key] = load(document, training, scratch / "model", is_measured=False)
    return _LOADED[key]


def _encoded(document: ModelDocument, samples: list[Sample], classes: tuple[str, ...], scratch: Path) -> Any:
    """The samples' texts as the training encodes its rows."""
    from tunesmith_jobs.batches.inputs import load_held_out
    from tunesmith_jobs.models.library_tokenizer import library_tokenizer

    training = TrainSpec.stored(document.training).model_copy(
        update={"text_column": _TEXT, "label_column": _LABEL, "allowed_bad_percent": 0.0}
    )
    file = scratch / "texts.jsonl"
    lines = [json.dumps({_TEXT: one.turns[-1].content, _LABEL: one.label}) for one in samples]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    own = Path(document.tokenizer_path) if document.tokenizer_path else None
    encoder = Path(document.encoder_path)
    own = library_tokenizer(encoder, own, scratch / "library").folder or own
    rows, _ = load_held_out(training, encoder, file, own, classes=classes)
    if len(rows) != len(samples):
        raise InvalidData(f"Of {len(samples)} texts {len(rows)} can be encoded.")
    return rows
