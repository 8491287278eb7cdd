"""What OpenAI's clients send, and the question that it is. What cannot be done here is refused by its field's name.

The defaults are OpenAI's: temperature 1, nothing cut off, no penalty; what is drawn from is the model's own
distribution. The form and the terminal send their own (`tunesmith.spec.chat.ChatSettings`). Fields that change no
answer (`user`, `metadata`, `store`, ...) are taken. Knows both forms; knows no HTTP.
"""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from tunesmith.chat.settings import (
    MAX_BIASES,
    MAX_LOGPROBS,
    MAX_NEW_TOKENS,
    MAX_STOPS,
    FiniteBias,
    Sampling,
    StopText,
)
from tunesmith.chat.wire import MAX_MESSAGES, Ask, ServedModel
from tunesmith.errors import InvalidInput
from tunesmith.limits import MAX_COUNT
from tunesmith.spec.given import Given
from tunesmith_platform.openai.messages import (
    ChatMessage,
    Choice,
    GivenTools,
    ResponseFormat,
    format_of,
    messages_of,
    not_here,
    tools_of,
)

_Name = Annotated[str, Field(min_length=1, max_length=300)]
_Whole = Annotated[int, Field(ge=-MAX_COUNT, le=MAX_COUNT)]
_Token = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
_SEEDS = 2**32
MAX_ANSWERS = 16
"""Of one request."""


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
    n: int | None = Field(
        None, ge=1, le=MAX_ANSWERS, description="So many answers; with a `seed`, of it and those after it."
    )
    top_k: int | None = Field(None, ge=-1, le=1000, description="0 and -1: all tokens.")
    min_p: FiniteFloat | None = Field(None, ge=0, le=1)
    repetition_penalty: FiniteFloat | None = Field(None, gt=0, le=2)
    logit_bias: dict[_Token, FiniteBias] | None = Field(
        None, max_length=MAX_BIASES, description="Added to the scores of tokens, by their numbers."
    )
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None

    @property
    def answers(self) -> int:
        """How many answers to one prompt are wanted."""
        return self.n or 1

    @property
    def includes_usage(self) -> bool:
        """Whether the last chunk of a stream is to say how many tokens there were."""
        return self.stream_options is not None and self.stream_options.include_usage

    def refuse(self) -> None:
        """Refuse what cannot be done here.

        Raises:
            InvalidInput: Something is asked for; names its field.
        """

    def each(self, question: Ask, place: int) -> Ask:
        """The question of one of several answers.

        Args:
            question: That of the first.
            place: Which answer.
        """
        if not place:
            return question
        seed = question.sampling.seed
        drawing = question.sampling.model_copy(
            update={"seed": None if seed is None else (seed + place) % _SEEDS}
        )
        return question.model_copy(update={"id": f"{question.id}-{place}", "sampling": drawing})

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
            logit_bias={int(token): bias for token, bias in (self.logit_bias or {}).items()},
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
    tools: GivenTools | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    functions: Any = None
    function_call: Any = None
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
        for field in ("functions", "audio", "prediction", "web_search_options"):
            if getattr(self, field):
                raise not_here(field, f"`{field}` is not done here.")
        if self.function_call not in (None, "none", "auto"):
            raise not_here("function_call", "Functions have become `tools`.")
        if self.modalities not in (None, ["text"]):
            raise not_here("modalities", "Answers are text here.")

    def questions(self, number: str, model: ServedModel) -> list[Ask]:
        """The questions that this is, one for each answer that is wanted.

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
        question = Ask(
            id=number,
            model=model,
            messages=messages_of(self.messages),
            sampling=self.drawing(most, (self.top_logprobs or 0) if self.logprobs else None),
            template_variables=variables,
            drop_oldest=self.drop_oldest,
            tools=tools_of(self.tools, self.tool_choice, self.parallel_tool_calls),
            format=format_of(self.response_format),
        )
        return [self.each(question, place) for place in range(self.answers)]


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
        if self.best_of not in (None, self.answers):
            raise not_here("best_of", "All answers are given: none is chosen.", "Ask for `n` of them.")
        if self.suffix:
            raise not_here("suffix", "Texts are continued at their end alone.")
        if self.echo:
            raise not_here("echo", "The prompt is not sent back.")

    def questions(self, number: str, model: ServedModel) -> list[Ask]:
        """See `ChatRequest.questions`: those of the first prompt come first."""
        self.refuse()
        prompts = self.prompt if isinstance(self.prompt, list) else [self.prompt]
        if not all(isinstance(prompt, str) for prompt in prompts):
            raise not_here("prompt", "Texts are continued here; tokens are not taken.", "Send strings.")
        if not prompts or len(prompts) * self.answers > MAX_ANSWERS:
            raise InvalidInput(
                f"A request has 1 to {MAX_ANSWERS} answers.", hint="Send fewer prompts.", field="prompt"
            )
        if not all(prompts):
            raise InvalidInput("The prompt is empty.", hint="Send some text.", field="prompt")
        drawing = self.drawing(self.max_tokens, self.logprobs)
        asked = [
            Ask(id=f"{number}-p{place}" if place else number, model=model, prompt=prompt, sampling=drawing)
            for place, prompt in enumerate(prompts)
        ]
        return [self.each(question, place) for question in asked for place in range(self.answers)]
