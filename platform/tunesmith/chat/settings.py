"""How an answer is drawn. The names are Hugging Face's; `presence_penalty` and `frequency_penalty` are OpenAI's.

What follows is the order in which every engine applies them: penalties, bias, what a grammar allows, temperature,
top_k, top_p, min_p, the draw.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

MAX_NEW_TOKENS = 8192
MAX_STOPS = 16
MAX_STOP_CHARACTERS = 200
MAX_LOGPROBS = 20
MAX_BIASES = 300
MAX_BIAS = 100

StopText = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]

FiniteBias = Annotated[FiniteFloat, Field(ge=-MAX_BIAS, le=MAX_BIAS)]


class Sampling(BaseModel):
    """How one answer is drawn. The same seed, prompt, settings, weights and engine give the same answer.

    The defaults draw as the model was trained: no penalty, nothing cut off. Those of the form and of the terminal are
    `tunesmith.spec.chat`'s.
    """

    model_config = ConfigDict(extra="forbid")
    max_new_tokens: int | None = Field(
        256,
        ge=1,
        le=MAX_NEW_TOKENS,
        description="Tokens of the answer at most; None: as many as there is room for. Engines are told a number.",
    )
    temperature: FiniteFloat = Field(0.7, ge=0, le=2, description="0: always the likeliest token.")
    top_p: FiniteFloat = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0, le=1000, description="0: all tokens.")
    min_p: FiniteFloat = Field(0.0, ge=0, le=1)
    repetition_penalty: FiniteFloat = Field(1.0, gt=0, le=2)
    presence_penalty: FiniteFloat = Field(0.0, ge=-2, le=2)
    frequency_penalty: FiniteFloat = Field(0.0, ge=-2, le=2)
    seed: int | None = Field(None, ge=0, le=2**32 - 1, description="None: another one each time.")
    stop: list[StopText] = Field(
        default_factory=list, max_length=MAX_STOPS, description="Texts before which the answer ends."
    )
    logprobs: int | None = Field(
        None, ge=0, le=MAX_LOGPROBS, description="How many of the likeliest tokens are told at each place."
    )
    logit_bias: dict[int, FiniteBias] = Field(
        default_factory=dict,
        max_length=MAX_BIASES,
        description="Added to the scores of tokens, by their number.",
    )
