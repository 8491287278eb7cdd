"""A question to a served model, and the lines that come back: one JSON object a line (NDJSON), until one ends it.

A replica answers `POST {route}/ask` with them, with status 200 once the first token is made, or once it has to wait
(`Loading`); before that a refusal is `Refused` as the whole body, with its status, and after that the last line. A
stream without an `End`, `Failed` or `Refused` line was cut: no answer is whole without one.

`GET {route}/status` answers `ReplicaStatus`; `POST {route}/pin` takes a `Pin`, `POST {route}/unload` an `Unload`, and
both answer `ReplicaStatus` too. Each of them wakes a model that was scaled to zero.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter

from tunesmith.chat.settings import Sampling

TOKEN_HEADER = "X-Tunesmith-Serve-Token"  # noqa: S105  (a name)
"""Carries `tunesmith.job.serve_token` of the attempt that serves; else a replica answers 401, and loads nothing."""
MAX_ASK_BYTES = 4 * 2**20
MAX_MESSAGES = 1000


class ServedModel(BaseModel):
    """Weights that answer, and all that loads them. What has one `weights` is one model, whatever it is called."""

    model_config = ConfigDict(extra="ignore")
    name: str = Field(description="What the caller called it; for messages alone.")
    weights: str = Field(
        description="What tells these weights from all others: a checkpoint's `manifest_sha256`, a folder's print."
    )
    model_uri: str = Field(description="The folder of the whole model or of the adapter, or its URI.")
    base_path: str = Field(description="The base model's folder: of an adapter its base, else its own.")
    is_adapter: bool
    training: dict[str, Any] = Field(description="See `ModelDocument.training`.")
    encoder_path: str = Field(description="The folder whose tokenizer and chat template write prompts.")
    tokenizer_path: str | None = None


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "user", "assistant"]
    content: str


class Ask(BaseModel):
    """One question: a conversation that the chat template writes, or a text as it stands. One answer each."""

    model_config = ConfigDict(extra="forbid")
    id: str = Field(
        min_length=1, max_length=80, description="Of the request, for logs; says nothing of its content."
    )
    model: ServedModel
    messages: list[Message] | None = Field(None, min_length=1, max_length=MAX_MESSAGES)
    prompt: str | None = Field(None, description="Instead of messages; no chat template is used.")
    sampling: Sampling = Sampling()
    template_variables: dict[str, bool | int | float | str] = Field(
        default_factory=dict, max_length=32, description="For the chat template: `enable_thinking`."
    )
    drop_oldest: bool = Field(
        False,
        description="Whether the oldest turns are left out where all of them are more than the model reads. System "
        "messages and the last question stay.",
    )


class TopToken(BaseModel):
    """A token that might have stood at a place."""

    text: str
    id: int
    logprob: FiniteFloat = Field(le=0)


class TokenLogprob(TopToken):
    """A token of the answer with its natural logarithm of probability, before any setting changed it."""

    top: list[TopToken] = Field(default_factory=list)


class Loading(BaseModel):
    """The model is being loaded, or other questions come first; said about once a second."""

    type: Literal["loading"] = "loading"
    seconds: float = Field(ge=0)
    message: str = ""


class Piece(BaseModel):
    """More of the answer. Whole characters alone; what may be the beginning of a stop text waits."""

    type: Literal["piece"] = "piece"
    text: str = ""
    tokens: int = Field(0, ge=0, description="How many tokens it is made of.")
    logprobs: list[TokenLogprob] = Field(default_factory=list, description="Empty where none was asked for.")


class End(BaseModel):
    """The answer is whole."""

    type: Literal["end"] = "end"
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int = Field(ge=0)
    reused_tokens: int = Field(0, ge=0, description="Of the prompt's: those that were known from before.")
    completion_tokens: int = Field(ge=0, description="With the end mark where the model wrote one.")
    first_token_seconds: float = Field(ge=0, description="Since the question arrived, loading included.")
    seconds: float = Field(ge=0)
    deterministic: bool = Field(True, description="False where a batch was shared with other questions.")
    dropped_turns: int = Field(0, ge=0, description="How many of the oldest turns were left out to fit.")
    engine: str


class Failed(BaseModel):
    """The answer ends here and is not whole."""

    type: Literal["failed"] = "failed"
    message: str
    hint: str | None = None


class Refused(BaseModel):
    """Why a question is not answered; the body of a response that is no 200, or the last line of one that is."""

    type: Literal["refused"] = "refused"
    code: Literal[
        "unauthorized",
        "invalid_input",
        "context_length_exceeded",
        "model_not_found",
        "busy",
        "no_memory",
        "failed",
    ]
    message: str
    hint: str | None = None
    field: str | None = None
    retry_after: float | None = Field(None, ge=0, description="Seconds.")
    prompt_tokens: int | None = Field(
        None, ge=0, description="Of the conversation, where it is more than the model reads."
    )
    context_tokens: int | None = Field(None, ge=0, description="What the model reads, in the same case.")


class Pin(BaseModel):
    """An adapter is to stay loaded, or may go again. It lasts as long as the replica."""

    model_config = ConfigDict(extra="forbid")
    weights: str
    pinned: bool = True


class Unload(BaseModel):
    """An adapter is to go; refused as `busy` while it answers."""

    model_config = ConfigDict(extra="forbid")
    weights: str


class LoadedModel(BaseModel):
    """Weights that are loaded."""

    name: str = Field(description="What it was called when it was loaded.")
    weights: str
    bytes: int = Field(ge=0)
    is_pinned: bool = False
    answering: int = Field(0, ge=0, description="Questions that it answers now, or will.")


class ReplicaStatus(BaseModel):
    """What a replica does."""

    model_config = ConfigDict(extra="ignore")
    engine: str = ""
    loaded: list[LoadedModel] = Field(default_factory=list, description="The one used last comes last.")
    loading: list[str] = Field(default_factory=list, description="Names.")
    running: int = Field(0, ge=0)
    waiting: int = Field(0, ge=0)
    answered: int = Field(0, ge=0, description="Since the replica started.")
    tokens_per_second: float = Field(0, ge=0, description="Of all answers together, over the last minute.")
    first_token_seconds: float | None = Field(
        None,
        ge=0,
        description="Half of the answers of the last minute began within so long; null without any.",
    )


Line = Annotated[Loading | Piece | End | Failed | Refused, Field(discriminator="type")]
LINE: TypeAdapter[Line] = TypeAdapter(Line)
"""Reads one line."""
STATUS = {
    "unauthorized": 401,
    "invalid_input": 400,
    "context_length_exceeded": 400,
    "model_not_found": 404,
    "busy": 503,
    "no_memory": 503,
    "failed": 500,
}
"""The status of each refusal."""
