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
from tunesmith.packaged import FilePart

TOKEN_HEADER = "X-Tunesmith-Serve-Token"  # noqa: S105  (a name)
"""Carries `tunesmith.job.serve_token` of the attempt that serves; else a replica answers 401, and loads nothing."""
MAX_ASK_BYTES = 4 * 2**20
MAX_MESSAGES = 1000
MAX_TOOLS = 128


class PackagedGguf(BaseModel):
    """A GGUF file that a package holds."""

    model_config = ConfigDict(extra="ignore")
    uri: str = Field(description="The file, on this machine or in a storage elsewhere; the first of several.")
    sha256: str = Field(description="What tells its content from all others; of one file, its sum.")
    bytes: int = Field(ge=0, description="Of all its parts.")
    parts: list[FilePart] = Field(
        default_factory=list, description="Its files in their order, where it is several."
    )
    type: str = Field(description="What it is stored as: `Q4_K_M`, ...")


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
    file: PackagedGguf | None = Field(None, description="A packaged file, which is then its own base.")


class ToolCall(BaseModel):
    """A tool that an answer called."""

    model_config = ConfigDict(extra="forbid")
    name: str
    arguments: dict[str, Any]
    id: str = ""


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "user", "assistant", "tool"]
    content: str
    reasoning: str = Field("", description="What an answer was thought out with.")
    tool_calls: list[ToolCall] = Field(default_factory=list, description="The tools that an answer called.")
    name: str = Field("", description="The tool that a tool's turn is of.")
    tool_call_id: str = Field("", description="The call that a tool's turn answers.")


class Tools(BaseModel):
    """The tools that an answer may call."""

    model_config = ConfigDict(extra="forbid")
    offered: list[dict[str, Any]] = Field(
        min_length=1,
        max_length=MAX_TOOLS,
        description='Each as `{"type": "function", "function": {"name", "description", "parameters"}}`.',
    )
    must: bool = Field(False, description="Whether one is to be called, whatever the model would do.")
    only: str | None = Field(None, description="The one that is to be called; None: any.")
    parallel: bool = Field(True, description="Whether an answer may call several.")
    strict: frozenset[str] = Field(
        default=frozenset(),
        description="Those whose calls are held to their parameters where none must be called; else all are.",
    )


class Format(BaseModel):
    """What every answer is made to be: JSON, an object of any form or what a schema says."""

    model_config = ConfigDict(extra="forbid")
    json_schema: dict[str, Any] | bool | None = Field(None, description="None: any object.")
    field: str = Field("response_format", description="Where the schema lies in the request, for messages.")


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
    tools: Tools | None = None
    format: Format | None = None


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


class CallPart(BaseModel):
    """More of a tool's call: its name first and once, then its arguments, which add up to JSON text."""

    index: int = Field(ge=0, description="Of the call in its answer.")
    name: str | None = None
    arguments: str = ""


class Piece(BaseModel):
    """More of the answer. Whole characters alone; what may be the beginning of a stop text waits."""

    type: Literal["piece"] = "piece"
    text: str = ""
    tokens: int = Field(0, ge=0, description="How many tokens it is made of.")
    logprobs: list[TokenLogprob] = Field(default_factory=list, description="Empty where none was asked for.")
    calls: list[CallPart] = Field(
        default_factory=list, description="What it calls; their text is in no `text`."
    )
    thinks: bool = Field(
        False,
        description="Of the first piece: the prompt has opened a thought, and the answer begins inside of it.",
    )


class End(BaseModel):
    """The answer is whole."""

    type: Literal["end"] = "end"
    finish_reason: Literal["stop", "length", "tool_calls"]
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
    """An adapter is to stay loaded, or may go again. Another replica of the attempt loads it anew."""

    model_config = ConfigDict(extra="forbid")
    weights: str
    pinned: bool = True
    model: ServedModel | None = Field(None, description="What another replica loads.")


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
