"""What an evaluation is given, read: its samples, how answers are made, scorers of its user's. Knows no model."""

from pathlib import Path
from typing import Any

from tunesmith.errors import InvalidData
from tunesmith.evaluation.document import EvaluationDocument
from tunesmith.evaluation.results import Sample, Text
from tunesmith.evaluation.samples import default_samples, is_sortable, read_samples, select
from tunesmith.evaluation.scores.custom import CustomScorers, read_scorers
from tunesmith.spec.evaluation import DEFAULT_SAMPLES, EvaluateSpec


def samples_of(document: EvaluationDocument, spec: EvaluateSpec) -> tuple[list[Sample], tuple[Text, ...]]:
    """The samples that are asked, and what is to be said of their file.

    Raises:
        InvalidData: There are none, or one cannot be used.
    """
    path = str(document.samples_path)
    found = default_samples() if path == DEFAULT_SAMPLES else read_samples(Path(path), **spec.columns)
    samples = select(
        found,
        ratio=spec.sample_ratio,
        minimum=spec.min_samples,
        maximum=spec.max_samples,
        seed=spec.seed,
        split=spec.split,
    )
    if not samples:
        raise InvalidData(
            f"The sample file has no samples of the part `{spec.split}`.",
            hint="Set `split`, or give a file that has them.",
        )
    return samples, found.notes


def check_classes(samples: list[Sample], document: EvaluationDocument) -> None:
    """See that classifiers can be asked every sample.

    Raises:
        InvalidData: One is no text with a class, or a candidate was not trained on its class.
    """
    for sample in samples:
        if not is_sortable(sample):
            raise InvalidData(
                f"Sample {sample.row} of `{sample.split}` is no text with a class: classifiers are asked nothing else.",
                hint="Write `text` and `label`.",
            )
        for one in document.candidates:
            if one.classes and sample.label not in one.classes:
                raise InvalidData(
                    f"Sample {sample.row} of `{sample.split}` expects `{sample.label}`, which `{one.candidate.label}` "
                    "was not trained on.",
                    hint="Leave it out, or take another candidate.",
                )


def settings_of(spec: EvaluateSpec) -> dict[str, Any]:
    """How answers are made, by what decides them: the likeliest token depends on no way of drawing."""
    return {
        "max_new_tokens": spec.max_new_tokens,
        "temperature": spec.temperature,
        "top_k": spec.top_k if spec.draws else 0,
        "top_p": spec.top_p if spec.draws else 1.0,
        "min_p": spec.min_p if spec.draws else 0.0,
        "repetition_penalty": spec.repetition_penalty,
        "presence_penalty": spec.presence_penalty,
    }


def scorers_of(document: EvaluationDocument) -> CustomScorers | None:
    """The scorers of its user's, each looked at before anything is asked.

    Raises:
        InvalidInput: One cannot be used.
    """
    path = document.scorers_path
    if path is None:
        return None
    found = CustomScorers(read_scorers(Path(path).read_text(encoding="utf-8")), document.allowed_scorers)
    found.check()
    return found
