"""What the API shows of chats: served models, and what came of a verb on one."""

import datetime as dt
from typing import Literal

from pydantic import BaseModel, Field

from tunesmith.chat.proof import ProofState, ProofView
from tunesmith.chat.wire import ReplicaStatus
from tunesmith.spec.given import Given

ChatState = Literal["starting", "deploying", "ready", "idle", "failed", "ended"]


class ServedView(BaseModel):
    """A base model that is served, or was."""

    task_id: str | None = Field(description="The task that serves it; stopping it is the task's stop.")
    base: str = Field(description="Its folder or URI.")
    name: str = Field(description="The last part of that.")
    state: ChatState = Field(description="`idle`: in no memory; the next question loads it.")
    message: str = ""
    loaded: dict[str, int | None] = Field(
        default_factory=dict, description="The models that were said to be loaded, with their bytes."
    )
    asked_at: dt.datetime = Field(description="When it was asked last, to ten seconds.")
    status: ReplicaStatus | None = Field(None, description="What it says itself; of one base alone.")


class ModelVerb(Given):
    """Which model a verb is about."""

    model: str = Field(min_length=1, max_length=300, description="`NAME`, `TASK`, `TASK:40`, `TASK:latest`.")


class NamedModel(BaseModel):
    """What a name stands for now."""

    model: str = Field(description="Its whole name, with its checkpoint.")
    weights: str = Field(description="What has the same here is the same model.")
    content: str = Field(
        "", description="What its weights hold: a final model and the checkpoint of its last step have one."
    )
    task_id: str | None = None
    step: int | None = None
    why: str = Field(
        "",
        description="Why it is this checkpoint, where the name does not say: `recommended`, `best`, `final`.",
    )
    base: str = Field(description="The base model that computes it.")
    served_by: str | None = Field(None, description="The task that serves that base; none where nobody does.")
    proof: ProofView = Field(default_factory=ProofView, description="Whether what answers is the model.")


class ListedModel(BaseModel):
    """A name that can be asked."""

    name: str
    task_id: str | None = None
    proof: ProofState = ProofState.PENDING


class ChatPart(BaseModel):
    """What comes of an answer, as it comes."""

    place: int = Field(0, description="Whose it is, where several answer.")
    text: str = ""
    thought: str = Field("", description="What the model thinks before it answers, of one that does.")
    words: str = Field("", description="What it does while nothing comes: it is loaded, it starts.")


class ChatReply(BaseModel):
    """An answer that is whole."""

    model: str = Field(description="The whole name of the weights that answered.")
    text: str
    thought: str = ""
    finish_reason: Literal["stop", "length", "tool_calls"]
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dropped_turns: int = Field(0, description="How many of the oldest turns were left out to fit.")


class KeptReply(ChatReply):
    """An answer that is kept in a conversation."""

    conversation: str
    turn: int
    why: str = Field("", description="Why it was cut, where it was.")
