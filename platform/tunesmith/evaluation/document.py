"""What the control plane hands to a job that compares candidates.

Everything in it is resolved: the job asks nobody. Without candidates it is an evaluation of one model on rows.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.evaluation.results import Candidate
from tunesmith.evaluation.scores.judge import JudgeSettings
from tunesmith.model_step import ModelDocument


class CandidateDocument(BaseModel):
    """One candidate: what it is called, and what loads it."""

    model_config = ConfigDict(extra="ignore")
    candidate: Candidate
    training: dict[str, Any] = Field(description="See `ModelDocument.training`.")
    encoder_path: str
    tokenizer_path: str | None = None
    classes: list[str] = Field(default_factory=list)
    base_path: str = Field("", description="The base that it shares with others, or its own folder.")
    train_path: str | None = Field(None, description="The rows that it was trained on, where they are here.")


OF_THE_WHOLE = {"candidates", "samples_path", "scorers_path", "allowed_scorers", "judge", "own_benchmark"}
"""What concerns no single candidate's work."""


class EvaluationDocument(ModelDocument):
    """Everything an attempt to evaluate needs."""

    candidates: list[CandidateDocument] = Field(default_factory=list)
    samples_path: str | None = Field(None, description="The sample file.")
    scorers_path: str | None = Field(None, description="The file of scorers of its user's.")
    allowed_scorers: list[str] = Field(
        default_factory=list, description="Names of installed scorers that the administrator lists."
    )
    judge: JudgeSettings | None = Field(
        None,
        description="The judge that its user wants, as the administrator lists it; the key is not in it.",
    )

    own_benchmark: dict[str, Any] | None = Field(
        None, description="A benchmark of its user's, as `OwnBenchmark`, with whole paths."
    )

    def of(self, chosen: CandidateDocument) -> ModelDocument:
        """The document of a step that uses one candidate."""
        return ModelDocument.model_validate(
            self.model_dump(exclude=OF_THE_WHOLE)
            | {
                "model_uri": chosen.candidate.uri,
                "step": chosen.candidate.step,
                "training": chosen.training,
                "encoder_path": chosen.encoder_path,
                "tokenizer_path": chosen.tokenizer_path,
                "classes": chosen.classes,
            }
        )
