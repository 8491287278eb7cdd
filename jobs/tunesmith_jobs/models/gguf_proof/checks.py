"""The proof that a GGUF file is the model: what llama.cpp makes of it beside what the library and the training make.

Each check has a limit; a file that misses one is not offered. Knows what is right and how far off a type may be; knows
nothing of how a file was written.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tunesmith.gguf import FileType
from tunesmith_jobs.models.gguf_proof.asked import Answer
from tunesmith_jobs.models.gguf_proof.proof import Check, Difference
from tunesmith_jobs.models.gguf_proof.weights_check import Fault, Looked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MOST = 3.0
"""Nats that no type's file may be apart by, whatever its bits: one that knows nothing, and says the same at every
token, is 3.8 from SmolLM2 (`tests/bench/type_differences.py`)."""
LIMITS: dict[FileType, float] = {
    FileType.F32: 1e-4,
    FileType.F16: 1e-3,
    FileType.BF16: 5e-3,
    FileType.Q8_0: 0.05,
    FileType.Q6_K: 0.1,
    FileType.Q5_K_M: 0.5,
    FileType.Q5_K_S: 0.5,
    FileType.Q5_0: 0.5,
    FileType.Q5_1: 1.0,
    FileType.Q4_K_M: 0.4,
    FileType.Q4_K_S: 1.0,
    FileType.IQ4_NL: 1.0,
    FileType.IQ4_XS: 1.0,
    FileType.Q4_1: 1.0,
    FileType.Q4_0: 2.0,
    FileType.Q3_K_L: 1.0,
    FileType.Q3_K_M: 1.0,
    FileType.Q3_K_S: 2.0,
    FileType.Q2_K: 2.1,  # 0.69
    FileType.Q2_K_S: 2.6,  # 0.66, with a matrix of 8192 tokens, as all below but IQ3_M and IQ3_S
    FileType.IQ3_M: _MOST,  # 1.85 without a matrix
    FileType.IQ3_S: _MOST,  # 2.10 without a matrix
    FileType.IQ3_XS: 1.4,  # 0.34
    FileType.IQ3_XXS: 1.7,  # 0.43
    FileType.IQ2_M: 2.6,  # 0.66
    FileType.IQ2_S: 2.6,  # 0.68
    FileType.IQ2_XS: 2.6,  # 0.79
    FileType.IQ2_XXS: 2.7,  # 1.00
    FileType.IQ1_M: _MOST,  # 1.35
    FileType.IQ1_S: _MOST,  # 1.51
}
"""The mean difference (KL, in nats a token) up to which a file of a type passes.

Three times and more what SmolLM2-135M shows, whose few numbers suffer most, where that is below `_MOST`. Of types
without a figure of their own, that of one with fewer bits bounds them. What computes something else is above, or shows
in its tensors, which are compared byte by byte."""
_EXPERTS = 5.0
"""Times a type's limit that a model with experts may be apart: where two experts are nearly as likely, rounding asks
the other one, and a single token is then far off."""
SURE: dict[FileType, float] = {
    FileType.F32: 0.99,
    FileType.F16: 0.99,
    FileType.BF16: 0.97,
    FileType.Q8_0: 0.95,
    FileType.Q6_K: 0.9,
    FileType.Q5_K_M: 0.85,
    FileType.Q5_K_S: 0.85,
    FileType.Q5_0: 0.85,
    FileType.Q5_1: 0.85,
    FileType.Q4_K_M: 0.75,
    FileType.Q4_K_S: 0.75,
}
"""The share of tokens whose likeliest next token is the library's, at the least, of those where it is clearly the
likeliest; of types in fewer bits a fifth."""
_LEAST_SURE = 0.2
_AHEAD_BY = 0.1
"""So much of probability ahead is clearly."""
_OF_EXPERTS = 0.1
"""So much less of a model with experts: see `_EXPERTS`."""
_FEW_SURE = 50
"""Of fewer such tokens the share says nothing: a model that was just made up is sure of none."""
_AHEAD = 0.05
"""Logits by which the library's likeliest token is ahead where another one is a fault, in types that are casts."""
_TIGHT = (FileType.F32, FileType.F16)
"""In BF16 llama.cpp rounds what it multiplies with too: its likeliest answer may go another way."""
_TURNING = 1e-4


class Expected(NamedTuple):
    """What is right, as the training and the library have it."""

    ids: list[list[int]]
    """Of the sentences."""
    conversations: list[list[int] | None]
    """Of the conversations, an answer opened; None where the training's template refuses one."""
    ends: list[int]
    """The tokens that end an answer: the training's first, of a model that was trained on conversations."""
    bos: int | None
    words: int
    context: int


class Heard(NamedTuple):
    """What the library computes of the sequences."""

    logits: "Sequence[NDArray[np.float32]]"
    greedy: list[tuple[int, float]]
    """See `Reference.greedy`; after the first sequence."""
    turning: "NDArray[np.float64] | None"


def check_texts(answer: Answer, expected: Expected) -> list[Check]:
    """What needs no computing: ids, conversations, ends."""
    facts = answer.facts
    wrong = [place for place, ids in enumerate(expected.ids) if answer.ids[place] != ids]
    found = [
        Check(
            name="ids",
            passed=not wrong,
            words=f"{len(expected.ids) - len(wrong)} of {len(expected.ids)} texts have the same ids"
            + (f"; the first that has not is number {wrong[0] + 1}" if wrong else ""),
            words_zh=f"{len(expected.ids)} 段文本中 {len(expected.ids) - len(wrong)} 段的词元编号相同"
            + (f"，第一段不同的是第 {wrong[0] + 1} 段" if wrong else ""),
        )
    ]
    if any(one is not None for one in expected.conversations):
        pairs = list(zip(expected.conversations, answer.rendered_ids, strict=True))
        asked = [(right, made) for right, made in pairs if right is not None]
        same = sum(right == made for right, made in asked)
        found.append(
            Check(
                name="conversations",
                passed=same == len(asked),
                words=f"{same} of {len(asked)} conversations come out of the file's template as they were trained",
                words_zh=f"{len(asked)} 段对话中 {same} 段经文件自带模板写出后与训练时相同",
            )
        )
    lost = next((token for token in expected.ends if token not in facts.ends), None)
    is_bos = expected.bos is None or facts.bos == expected.bos
    is_whole = facts.words == expected.words
    words, words_zh = "the token that ends an answer ends it", "结束回答的词元能够结束回答"
    if lost is not None:
        words = f"token {lost} ends an answer of the model, and not in the file"
        words_zh = f"模型由词元 {lost} 结束回答，而文件中不是"
    elif not is_bos:
        words = f"texts begin with token {expected.bos}, and in the file with {facts.bos}"
        words_zh = f"文本以词元 {expected.bos} 开头，而文件中为 {facts.bos}"
    elif not is_whole:
        words = f"the model has {expected.words} tokens, and the file {facts.words}"
        words_zh = f"模型有 {expected.words} 个词元，而文件有 {facts.words} 个"
    found.append(
        Check(name="ends", passed=lost is None and is_bos and is_whole, words=words, words_zh=words_zh)
    )
    found.append(
        Check(
            name="context",
            passed=facts.context <= expected.context,
            words=f"the file is for {facts.context} tokens, the model for {expected.context}",
            words_zh=f"文件的上下文长度为 {facts.context} 个词元，模型为 {expected.context} 个",
            value=facts.context,
            limit=expected.context,
        )
    )
    return found


def check_numbers(broken: Sequence[Fault]) -> Check:
    """Whether every number of the file is one."""
    words, words_zh = "every number is one", "每个数值都有效"
    if broken:
        words, words_zh = (f"`{broken[0].tensor}` {said}" for said in (broken[0].words, broken[0].words_zh))
    return Check(name="finite", passed=not broken, words=words, words_zh=words_zh)


def check_weights(looked: Looked) -> Check:
    """Whether every tensor is the model's."""
    words = f"{looked.tensors} tensors are the model's, as this type stores them"
    words_zh = f"{looked.tensors} 个张量按此类型存储后与模型一致"
    if looked.faults:
        first = looked.faults[0]
        words = f"{len(looked.faults)} tensors are not the model's: `{first.tensor}` {first.words}"
        words_zh = f"{len(looked.faults)} 个张量与模型不符：`{first.tensor}` {first.words_zh}"
    return Check(name="weights", passed=not looked.faults, words=words, words_zh=words_zh, value=looked.same)


def check_turning(
    theta: float, factors: "NDArray[np.float32] | None", turning: "NDArray[np.float64]"
) -> Check:
    """Whether positions turn queries and keys as the library turns them.

    Args:
        theta: The file's base.
        factors: What the file divides each pair's turning by.
        turning: The library's, a number a pair.
    """
    import numpy as np

    pairs = len(turning)
    made = theta ** (-np.arange(pairs) / pairs)
    if factors is not None:
        made = made / factors.astype(np.float64)
    apart = float(np.abs(made / turning - 1).max())
    return Check(
        name="turning",
        passed=apart < _TURNING,
        words="positions turn queries and keys as in the model"
        if apart < _TURNING
        else "positions turn queries and keys otherwise than in the model (rope)",
        words_zh="位置对查询和键的旋转与模型一致"
        if apart < _TURNING
        else "位置对查询和键的旋转与模型不同（rope）",
        value=apart,
        limit=_TURNING,
    )


def difference(right: "Sequence[NDArray[np.float32]]", made: "Sequence[NDArray[np.float32]]") -> Difference:
    """How far some logits are from others; not a number where any is none."""
    import numpy as np

    forth, back, same, sure = [], [], [], []
    for one, other in zip(right, made, strict=True):
        for place in range(len(one)):
            p, q = _log_softmax(one[place]), _log_softmax(other[place])
            forth.append(float((np.exp(p) * (p - q)).sum()))
            back.append(float((np.exp(q) * (q - p)).sum()))
            best = np.partition(p, -2)[-2:]
            same.append(bool(one[place].argmax() == other[place].argmax()))
            if np.exp(best[1]) - np.exp(best[0]) >= _AHEAD_BY:
                sure.append(same[-1])
    return Difference(
        kl_mean=float(np.mean(forth)),
        kl_p99=float(np.percentile(forth, 99)),
        kl_back_mean=float(np.mean(back)),
        top1=float(np.mean(same)),
        tokens=len(forth),
        sure=float(np.mean(sure)) if sure else None,
        sure_tokens=len(sure),
    )


def _log_softmax(row: "NDArray[np.float32]") -> "NDArray[np.float64]":
    import numpy as np

    found = row.astype(np.float64)
    found -= found.max()
    return found - np.log(np.exp(found).sum())


def check_difference(file_type: FileType, found: Difference, *, has_experts: bool = False) -> Check:
    """Whether what is computed is near enough for the type."""
    limit = min(_MOST, LIMITS[file_type] * (_EXPERTS if has_experts else 1))
    passed = math.isfinite(found.kl_mean) and math.isfinite(found.kl_back_mean) and found.kl_mean <= limit
    return Check(
        name="kl",
        passed=passed,
        words=f"KL {found.kl_mean:.2g} (99 of 100 tokens under {found.kl_p99:.2g}), the likeliest token is the same in "
        f"{found.top1:.1%} of {found.tokens}; up to {limit:g} is taken for this type",
        words_zh=f"KL 为 {found.kl_mean:.2g}（99% 的词元低于 {found.kl_p99:.2g}），{found.tokens} 个词元中"
        f"最可能的词元有 {found.top1:.1%} 相同；此类型的限值为 {limit:g}",
        value=found.kl_mean if math.isfinite(found.kl_mean) else None,
        limit=limit,
    )


def check_likeliest(file_type: FileType, found: Difference, *, has_experts: bool = False) -> Check:
    """Whether the likeliest next token is the library's where that is clearly the likeliest."""
    limit = SURE.get(file_type, _LEAST_SURE) - (_OF_EXPERTS if has_experts else 0)
    few = found.sure is None or found.sure_tokens < _FEW_SURE
    return Check(
        name="top1",
        passed=few or (found.sure or 0.0) >= limit,
        words=f"the model is clearly sure of {found.sure_tokens} tokens"
        + ("" if found.sure is None else f", and the file says the same in {found.sure:.1%} of them"),
        words_zh=f"模型对 {found.sure_tokens} 个词元有明确判断"
        + ("" if found.sure is None else f"，文件在其中 {found.sure:.1%} 上相同"),
        value=found.sure,
        limit=limit,
    )


def check_prompts(wrong: Sequence[int], count: int) -> Check:
    """Whether questions are written as the training wrote its rows.

    Args:
        wrong: The places of the conversations that are not.
        count: How many were looked at.
    """
    return Check(
        name="conversations",
        passed=not wrong,
        words=f"{count - len(wrong)} of {count} conversations are written as they were trained"
        + (f"; the first that is not is number {wrong[0] + 1}" if wrong else ""),
        words_zh=f"{count} 段对话中 {count - len(wrong)} 段的写法与训练时相同",
    )


def check_greedy(file_type: FileType, right: Sequence[tuple[int, float]], made: Sequence[int]) -> Check:
    """Whether the likeliest answer is the library's, as long as its tokens are clearly ahead."""
    count = min(len(right), len(made))
    apart = next((place for place in range(count) if right[place][0] != made[place]), count)
    is_tie = apart == count or right[apart][1] < _AHEAD
    return Check(
        name="greedy",
        passed=is_tie or file_type not in _TIGHT,
        words=f"the likeliest answer is the same for {apart} of {count} tokens",
        words_zh=f"最可能的回答在 {count} 个词元中前 {apart} 个相同",
        value=apart,
    )
