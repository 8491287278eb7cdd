"""What OpenAI's clients send, and the question that it is. What cannot be done here is refused by its field's name.

The defaults are OpenAI's: temperature 1, nothing cut off, no penalty; what is drawn from is the model's own
distribution. The form and the terminal send their own (`tunesmith.spec.chat.ChatSettings`). Fields that change no
answer (`user`, `metadata`, `store`, ...) are taken. Knows both forms; knows no HTTP.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from tunesmith.chat.settings import MAX_LOGPROBS, MAX_NEW_TOKENS, MAX_STOPS, Sampling, StopText
from tunesmith.chat.wire import MAX_MESSAGES, Ask, Message, ServedModel
from tunesmith.errors import InvalidInput
from tunesmith.limits import MAX_COUNT
from tunesmith.spec.given import Given

_Name = Annotated[str, Field(min_length=1, max_length=300)]
_Whole = Annotated[int, Field(ge=-MAX_COUNT, le=MAX_COUNT)]
_SEEDS = 2**32


class TextPart(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(extra="ignore")
    type: str = Field(description="`text`: others are not read here.")
    text: str = ""


class ChatMessage(BaseModel):
    """A message, with whatever else clients send back of an answer that they were given."""

    model_config = ConfigDict(extra="ignore")
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart] | None = None
    tool_calls: list[Any] | None = None


class StreamOptions(BaseModel):
    """How a stream is sent."""

    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False


class _Common(Given):
    model: _Name = Field(description="`NAME`, `TASK`, `TASK:40`, `TASK:latest`: see `GET /openai/v1/models`.")
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: FiniteFloat | None = Field(None, ge=0, le=2)
    top_p: FiniteFloat | None = Field(None, ge=0, le=1, description="0 is the most likely token alone.")
    presence_penalty: FiniteFloat | None = Field(None, ge=-2, le=2)
    frequency_penalty: FiniteFloat | None = Field(None, ge=-2, le=2)
    stop: StopText | Annotated[list[StopText], Field(max_length=MAX_STOPS)] | None = None
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    n: int | None = Field(None, ge=1, le=128)
    top_k: int | None = Field(None, ge=-1, le=1000, description="0 and -1: all tokens.")
    min_p: FiniteFloat | None = Field(None, ge=0, le=1)
    repetition_penalty: FiniteFloat | None = Field(None, gt=0, le=2)
    logit_bias: dict[str, Any] | None = None
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None

    @property
    def includes_usage(self) -> bool:
        """Whether the last chunk of a stream is to say how many tokens there were."""
        return self.stream_options is not None and self.stream_options.include_usage

    def refuse(self) -> None:
        """Refuse what cannot be done here.

        Raises:
            InvalidInput: Something is asked for; names its field.
        """
        if self.n not in (None, 1):
            raise _not_here("n", "One answer is given to a request.", "Ask several times, with other seeds.")
        if self.logit_bias:
            raise _not_here("logit_bias", "Tokens are not weighted here.")

    def drawing(self, most: int | None, logprobs: int | None) -> Sampling:
        """How the answer is drawn."""
        stops = [self.stop] if isinstance(self.stop, str) else list(self.stop or ())
        is_greedy = self.temperature == 0 or self.top_p == 0
        return Sampling(
            max_new_tokens=most,
            temperature=0 if is_greedy else 1 if self.temperature is None else self.temperature,
            top_p=self.top_p or 1,
            top_k=max(0, self.top_k or 0),
            min_p=self.min_p or 0,
            repetition_penalty=1 if self.repetition_penalty is None else self.repetition_penalty,
            presence_penalty=self.presence_penalty or 0,
            frequency_penalty=self.frequency_penalty or 0,
            seed=None if self.seed is None else self.seed % _SEEDS,
            stop=stops,
            logprobs=logprobs,
        )


class ChatRequest(_Common):
    """A conversation that is to go on."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_tokens: int | None = Field(None, ge=1, le=MAX_NEW_TOKENS)
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_NEW_TOKENS)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)
    chat_template_kwargs: dict[str, bool | _Whole | FiniteFloat | str] | None = Field(None, max_length=32)
    enable_thinking: bool | None = None
    drop_oldest: bool = Field(
        False, description="Leave out the oldest turns where all of them are more than the model reads."
    )
    tools: Any = None
    tool_choice: Any = None
    functions: Any = None
    function_call: Any = None
    parallel_tool_calls: Any = None
    response_format: Any = None
    modalities: Any = None
    audio: Any = None
    prediction: Any = None
    web_search_options: Any = None
    reasoning_effort: Any = None
    verbosity: Any = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("`top_logprobs` needs `logprobs: true`.")
        return self

    def refuse(self) -> None:
        """Refuse what cannot be done here."""
        super().refuse()
        for field in ("tools", "functions", "audio", "prediction", "web_search_options"):
            if getattr(self, field):
                raise _not_here(field, f"`{field}` is not done here.")
        if self.tool_choice not in (None, "none", "auto"):
            raise _not_here("tool_choice", "Tools are not called here.")
        if self.function_call not in (None, "none", "auto"):
            raise _not_here("function_call", "Functions are not called here.")
        wanted = self.response_format
        if wanted is not None and (not isinstance(wanted, dict) or wanted.get("type") != "text"):
            raise _not_here("response_format", "Answers are text here: no format is enforced.")
        if self.modalities not in (None, ["text"]):
            raise _not_here("modalities", "Answers are text here.")

    def question(self, number: str, model: ServedModel) -> Ask:
        """The question that this is.

        Args:
            number: Of the request.
            model: Who is asked.

        Raises:
            InvalidInput: Something is asked for that cannot be done here.
        """
        self.refuse()
        variables = dict(self.chat_template_kwargs or {})
        if self.enable_thinking is not None:
            variables.setdefault("enable_thinking", self.enable_thinking)
        most = self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens
        return Ask(
            id=number,
            model=model,
            messages=[_message(place, one) for place, one in enumerate(self.messages)],
            sampling=self.drawing(most, (self.top_logprobs or 0) if self.logprobs else None),
            template_variables=variables,
            drop_oldest=self.drop_oldest,
        )


class CompletionRequest(_Common):
    """A text that is to go on, as it stands."""

    prompt: str | list[Any]
    max_tokens: int | None = Field(16, ge=1, le=MAX_NEW_TOKENS)
    logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)
    echo: bool | None = None
    best_of: int | None = Field(None, ge=1, le=128)
    suffix: str | None = None

    def refuse(self) -> None:
        """Refuse what cannot be done here."""
        super().refuse()
        if self.best_of not in (None, 1):
            raise _not_here("best_of", "One answer is given to a request.")
        if self.suffix:
            raise _not_here("suffix", "Texts are continued at their end alone.")
        if self.echo:
            raise _not_here("echo", "The prompt is not sent back.")

    def question(self, number: str, model: ServedModel) -> Ask:
        """See `ChatRequest.question`."""
        self.refuse()
        prompt = self.prompt
        if isinstance(prompt, list):
            if len(prompt) != 1 or not isinstance(prompt[0], str):
                raise _not_here(
                    "prompt", "One text is continued by a request; tokens are not taken.", "Send one string."
                )
            (prompt,) = prompt
        if not prompt:
            raise InvalidInput("The prompt is empty.", hint="Send some text.", field="prompt")
        return Ask(
            id=number, model=model, prompt=prompt, sampling=self.drawing(self.max_tokens, self.logprobs)
        )


def _message(place: int, message: ChatMessage) -> Message:
    """A message as text.

    Raises:
        InvalidInput: It is none: a picture, a tool's result.
    """
    where = f"messages[{place}]"
    if message.role in ("tool", "function") or message.tool_calls:
        raise _not_here(f"{where}.role", "Tools are not called here.", "Leave these messages out.")
    parts = message.content
    if isinstance(parts, list):
        other = next((part for part in parts if part.type not in ("text", "input_text")), None)
        if other is not None:
            raise _not_here(
                f"{where}.content", f"Parts of type `{other.type[:40]}` are not read here.", "Send text."
            )
        parts = "".join(part.text for part in parts)
    if parts is None:
        if message.role != "assistant":
            raise InvalidInput("The message has no content.", hint="Send text.", field=f"{where}.content")
        parts = ""
    role: Any = "system" if message.role == "developer" else message.role
    return Message(role=role, content=parts)


def _not_here(field: str, message: str, hint: str | None = None) -> InvalidInput:
    return InvalidInput(message, hint=hint or f"Leave `{field}` out.", field=field)
