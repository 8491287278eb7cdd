"""Every parameter of serving a model for chats, and of talking to one, declared once.

Knows parameters; knows nothing of how a model is loaded or how text is made.
"""

from typing import Literal, Self

from pydantic import model_validator

from tunesmith.chat.settings import MAX_NEW_TOKENS, Sampling
from tunesmith.spec.base import Spec
from tunesmith.spec.kinds import Kind, Room
from tunesmith.spec.model_task import ModelUseSpec, as_in_training
from tunesmith.spec.parameter import Fold, Group, param
from tunesmith.spec.roles import Role
from tunesmith.spec.sampling import sampling

MAX_CONTEXT = 2**20
"""Tokens; no model here reads more."""


class ChatSpec(ModelUseSpec):
    """Serve a base model for chats, and every adapter of it that is asked for. Of an adapter or a task, the base."""

    engine: Literal["auto", "llama_cpp", "transformers"] = param(
        "auto",
        label=("Engine", "推理引擎"),
        help=("What computes the answers.", "计算回答的引擎。"),
        group=Group.BASIC,
        roles=(),
        choice_help={
            "auto": (
                "llama.cpp where there is no GPU and it knows the architecture; else transformers.",
                "无 GPU 且 llama.cpp 支持该架构时使用 llama.cpp，否则使用 transformers。",
            ),
            "llama_cpp": (
                "The fastest on a CPU; makes a GGUF file of the model once.",
                "CPU 上最快；首次使用时生成一次 GGUF 文件。",
            ),
            "transformers": (
                "Any architecture that can be trained here.",
                "支持所有可在此训练的架构。",
            ),
        },
    )
    idle_timeout: int = param(
        900,
        label=("Idle timeout", "空闲超时"),
        help=(
            "Without a question for so long the model leaves the memory; the next question loads it again. 0 keeps it.",
            "超过该时间没有提问时，模型从内存中释放；下一次提问时重新加载。0 表示一直保留。",
        ),
        group=Group.BASIC,
        roles=(),
        unit="seconds",
        step=60,
        ge=0,
        le=7 * 24 * 3600,
    )
    max_adapters: int = param(
        8,
        label=("Adapters at once", "同时加载的适配器数"),
        help=(
            "So many adapters stay loaded; the one that was used longest ago makes room for another.",
            "同时保持加载的适配器数量；超出时最久未使用的适配器让位。",
        ),
        group=Group.BASIC,
        fold=Fold.ADVANCED,
        roles=(),
        step=1,
        ge=1,
        le=64,
    )
    max_running: int = param(
        8,
        label=("Answers at once", "同时回答数"),
        help=(
            "So many questions are answered at once; others wait. Each takes memory for its context.",
            "同时回答的提问数，其余排队等待。每个提问的上下文都占用内存。",
        ),
        group=Group.BASIC,
        fold=Fold.ADVANCED,
        roles=(),
        step=1,
        ge=1,
        le=64,
    )
    context_length: int | None = param(
        None,
        label=("Context length", "上下文长度"),
        help=(
            "Tokens of a conversation and its answer at most; what the model was made for when empty. Less takes less "
            "memory.",
            "对话与回答的总词元数上限；留空使用模型自身的长度。较小的值占用较少内存。",
        ),
        group=Group.BASIC,
        fold=Fold.ADVANCED,
        roles=(),
        unit="tokens",
        ge=128,
        le=MAX_CONTEXT,
    )
    threads: int | None = param(
        None,
        label=("Threads", "线程数"),
        help=(
            "Threads that compute; as many as processors are reserved when empty.",
            "计算线程数；留空与预留的处理器数相同。",
        ),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles=(),
        ge=1,
        le=256,
    )
    resources_per_worker: dict[str, float] | None = as_in_training("resources_per_worker")


CHAT = Kind(
    name="chat",
    label=("Chat", "对话"),
    spec=ChatSpec,
    behaviour="tunesmith_platform.tasks.kinds.chat:Chatting",
    program="tunesmith_serve.program:Chatting",
    room=Room.CHAT,
    next_step="Ask it again: the next question starts it anew.",
)
new_chat = CHAT.new
"""What is sent to serve a model."""


def is_chat(kind: str) -> bool:
    """Whether a kind is that of served models."""
    return kind == CHAT.name


class ChatSettings(Spec):
    """How answers are drawn in the form and in the terminal. The API's own defaults are OpenAI's: nothing cut off."""

    temperature: float = sampling("temperature", 0.7, group=Group.BASIC)
    max_new_tokens: int = sampling(
        "max_new_tokens",
        256,
        group=Group.BASIC,
        aliases=("max_tokens", "max_completion_tokens"),
        le=MAX_NEW_TOKENS,
    )
    top_p: float = sampling("top_p", 0.9, group=Group.BASIC)
    top_k: int = sampling("top_k", 50, group=Group.BASIC, ui=(0, 100))
    repetition_penalty: float = sampling(
        "repetition_penalty",
        1.1,
        help=(
            "Over 1: tokens that were there before become less likely, those of the question too. 1 changes nothing.",
            "大于 1 时降低已出现词元（包括提问中的）的概率；1 表示不变。",
        ),
        group=Group.BASIC,
    )
    presence_penalty: float = sampling("presence_penalty", 1.1, group=Group.BASIC, ui=(0, 2))
    frequency_penalty: float = param(
        0.0,
        label=("Frequency penalty", "频率惩罚"),
        help=(
            "Taken from a token's score as often as the answer holds it already. 0 changes nothing.",
            "按词元在回答中已出现的次数从其得分中减去；0 表示不变。",
        ),
        group=Group.BASIC,
        fold=Fold.ADVANCED,
        roles=(),
        step=0.05,
        ui=(0, 2),
        ge=-2,
        le=2,
    )
    min_p: float = sampling("min_p", 0.0, group=Group.BASIC)
    seed: int | None = sampling(
        "seed",
        42,
        help=(
            "The same seed, conversation, settings and weights give the same answer; empty: another one each time.",
            "相同的种子、对话、设置与权重得到相同的回答；留空则每次不同。",
        ),
        group=Group.BASIC,
        ui=(0, 999_999),
        le=2**32 - 1,
    )
    enable_thinking: bool = param(
        False,
        label=("Enable thinking", "启用思考模式"),
        help=(
            "For models whose chat template has such a switch: think before answering.",
            "用于对话模板带有该开关的模型：回答前先思考。",
        ),
        group=Group.BASIC,
        fold=Fold.ADVANCED,
        roles=(),
    )
    drop_oldest: bool = param(
        False,
        label=("Drop oldest turns", "丢弃最早轮次"),
        help=(
            "Where a conversation is more than the model reads: leave out its oldest turns, and say how many. The "
            "system prompt and the last question stay. Else such a question is refused.",
            "对话超过模型可读取的长度时，去掉最早的轮次并说明去掉了几轮；系统提示词与最后的提问保留。关闭时此类提问会被拒绝。",
        ),
        group=Group.BASIC,
        fold=Fold.ADVANCED,
        roles=(),
    )
    system_prompt: str = param(
        "",
        label=("System prompt", "系统提示词"),
        help=("Said before the conversation.", "在对话之前加入的系统提示词。"),
        group=Group.BASIC,
        fold=Fold.ADVANCED,
        roles={Role.TEXT},
        max_length=10_000,
    )

    @model_validator(mode="after")
    def _are_sampling(self) -> Self:
        self.sampling()  # what is taken here is taken by whoever answers
        return self

    def sampling(self) -> Sampling:
        """The same as whoever answers takes it."""
        return Sampling(**self.model_dump(exclude={"enable_thinking", "drop_oldest", "system_prompt"}))
