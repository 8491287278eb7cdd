"""Whether what answers is the model: what is known of weights, by which engine, in which type.

Knows values; knows nothing of how a proof is computed.
"""

import hashlib
from enum import StrEnum

from pydantic import BaseModel, Field, FiniteFloat

ENGINE = "llama_cpp"
"""The engine that is proven: the other one is the library that a proof would be held against."""


class ProofState(StrEnum):
    """What is known of weights that answer."""

    PENDING = "pending"
    """Nothing yet: it is being looked at, or will be."""
    PROVEN = "proven"
    UNPROVEN = "unproven"
    """It could not be looked at; the words say why."""
    FAILED = "failed"
    """It is not the model: its name is withdrawn."""
    SAME_ENGINE = "same_engine"
    """The library that trained it answers: there is nothing to hold it against."""


class ProofView(BaseModel):
    """What is known of whether an answer is the model's."""

    state: ProofState = ProofState.PENDING
    engine: str = Field("", description="With its version, as `llama_cpp 2026.10.1`.")
    file_type: str = Field("", description="What the weights are stored as: `F16`, `Q4_K_M`, ...")
    words: dict[str, str] = Field(
        default_factory=dict, description="What it comes to, by language (`en`, `zh`)."
    )
    kl_mean: FiniteFloat | None = Field(None, description="Mean difference of the next token, in nats (KL).")
    top1: FiniteFloat | None = Field(
        None, description="Share of tokens whose likeliest next token is the same."
    )
    tokens: int | None = Field(None, description="How many tokens were looked at.")
    task_id: str | None = Field(None, description="The task that found it, or is to.")
    is_withdrawn: bool = Field(
        False, description="Whether the name is not answered: what did was not the model."
    )


def proof_key(weights: str, engine: str, version: str, file_type: str) -> str:
    """What tells one proof from all others: the weights, what computes them, and what they are stored as."""
    return hashlib.sha256(f"{weights}\n{engine}\n{version}\n{file_type}".encode()).hexdigest()
