"""What a file says of its model besides weights: every word with its kind, the merges, sizes and limits; an adapter.

A text that is tried asks for a few words of a hundred thousand, and a window of thousands of tokens is never passed:
so these are compared one by one. Knows files, tokenizers and architectures; computes no model.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tunesmith_jobs.models.gguf_proof.proof import Check
from tunesmith_jobs.models.gguf_proof.weights_check import FileTensors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 2, 3, 4, 5
"""llama.cpp's kinds of words."""
_CLOSE = 1e-6
"""Numbers of the file are fp32."""
_OF_ADAPTER = 1e-3
"""By how much of its largest number what an adapter adds may be off: it is stored in fp32."""
_PROBES = 4


def check_words(file: FileTensors, tokenizer: Any, template: str | None) -> Check:
    """Whether words, their kinds and merges are the tokenizer's, and the chat template is the training's.

    Args:
        file: The file.
        tokenizer: That the model was trained with.
        template: Likewise; None of a model that was trained on no conversations.
    """
    fault = next(_wrong_words(file, tokenizer), None)
    if fault is None and template is not None and file.field("tokenizer.chat_template") != template:
        fault = "its chat template is not the training's, letter by letter", "对话模板与训练时并非逐字相同"
    return Check(
        name="words",
        passed=fault is None,
        words=fault[0] if fault else "every word is the tokenizer's, with its kind and its merges",
        words_zh=fault[1] if fault else "每个词元及其类别与合并规则均与分词器一致",
    )


def _wrong_words(file: FileTensors, tokenizer: Any) -> Iterator[tuple[str, str]]:
    words, kinds = file.field("tokenizer.ggml.tokens"), file.field("tokenizer.ggml.token_type")
    added = tokenizer.get_added_tokens_decoder()
    around, alone = tokenizer.encode("a").ids, tokenizer.encode("a", add_special_tokens=False).ids
    if file.field("tokenizer.ggml.add_bos_token") != (around[:1] != alone[:1]):
        yield "texts begin otherwise in the file (begin mark)", "文件中文本的开头标记不同"
    for number, (word, kind) in enumerate(zip(words, kinds, strict=True)):
        right = tokenizer.id_to_token(number)
        if right is None:
            continue  # a row of the model that no word has
        if word != right:
            yield (
                f"token {number} is `{right}`, and in the file `{word}`",
                f"词元 {number} 是 `{right}`，文件中为 `{word}`",
            )
        one = added.get(number)
        wanted = None if one is None or kind == _UNKNOWN else _CONTROL if one.special else _USER_DEFINED
        if kind != wanted if wanted else (one is None and kind in (_CONTROL, _UNUSED)):
            yield (
                f"token {number} (`{right}`) is of another kind in the file ({kind})",
                f"词元 {number}（`{right}`）在文件中属于另一类别（{kind}）",
            )
    merges = [
        tuple(one.split(" ", 1)) if isinstance(one, str) else tuple(one)
        for one in json.loads(tokenizer.to_str())["model"].get("merges") or []
    ]
    made, scores = file.field("tokenizer.ggml.merges"), file.field("tokenizer.ggml.scores")
    if made is not None:
        place = _first_other(made, [" ".join(one) for one in merges])
    else:
        place = _first_out_of_order(words, scores or [], ["".join(one) for one in merges])
    if place is not None:
        told = " ".join(merges[place]) if place < len(merges) else str(place)
        yield (
            f"merge {place + 1} of the tokenizer (`{told}`) is another one in the file",
            f"分词器的第 {place + 1} 条合并规则（`{told}`）在文件中不同",
        )


def _first_other(made: Sequence[str], right: Sequence[str]) -> int | None:
    if len(made) != len(right):
        return min(len(made), len(right))
    return next(
        (place for place, (one, other) in enumerate(zip(made, right, strict=True)) if one != other), None
    )


def _first_out_of_order(words: Sequence[str], scores: Sequence[float], merged: Sequence[str]) -> int | None:
    """The first word that is put together before one that it comes behind: of scores the larger goes first."""
    score = dict(zip(words, scores, strict=False))
    first = {word: place for place, word in reversed(list(enumerate(merged)))}
    order = sorted((place, word) for word, place in first.items() if word in score)
    return next((after[0] for one, after in pairwise(order) if score[after[1]] > score[one[1]]), None)


def check_sizes(file: FileTensors, right: Mapping[str, Any]) -> Check:
    """Whether sizes, limits and factors that llama.cpp computes with are the model's.

    Args:
        file: The file.
        right: What the model's configuration says, by the file's names.
    """
    wrong = next((name for name, value in right.items() if not _is_same(file.field(name), value)), None)
    words, words_zh = "sizes and limits are the model's", "各项尺寸与限值与模型一致"
    if wrong is not None:
        words = f"`{wrong}` is {right[wrong]} in the model, and in the file {file.field(wrong)}"
        words_zh = f"`{wrong}` 在模型中为 {right[wrong]}，文件中为 {file.field(wrong)}"
    return Check(name="sizes", passed=wrong is None, words=words, words_zh=words_zh)


def _is_same(made: Any, right: Any) -> bool:
    if isinstance(right, float) and isinstance(made, int | float):
        return math.isclose(made, right, rel_tol=_CLOSE, abs_tol=1e-30)
    if isinstance(right, list | tuple) and isinstance(made, list | tuple):
        return len(made) == len(right) and all(map(_is_same, made, right))
    return bool(made == right)


def probed(change: "NDArray[np.float32]") -> "NDArray[np.float64]":
    """What a matrix (rows x width) makes of a few vectors that are always the same (rows x vectors)."""
    return change.astype(float) @ _probes(change.shape[-1])


def _probes(width: int) -> "NDArray[np.float64]":
    import numpy as np

    return np.random.default_rng(0).normal(size=(width, _PROBES))


def check_adapter(file: FileTensors, right: "Mapping[str, NDArray[np.float64]]") -> Check:
    """Whether an adapter's file adds to each matrix what peft adds.

    Args:
        file: The adapter's.
        right: What peft adds, as `probed` tells it, by the matrix's name in the file.
    """
    fault = next(_wrong_pairs(file, right), None)
    words, words_zh = (
        f"{len(right)} matrices are changed as peft changes them",
        f"{len(right)} 个矩阵的改动与 peft 一致",
    )
    if fault is not None:
        words, words_zh = f"`{fault}` is not changed as peft changes it", f"`{fault}` 的改动与 peft 不同"
    return Check(name="adapter", passed=fault is None, words=words, words_zh=words_zh)


def _wrong_pairs(file: FileTensors, right: "Mapping[str, NDArray[np.float64]]") -> Iterator[str]:
    import numpy as np

    alpha = float(file.field("adapter.lora.alpha") or 0)
    names = set(file.names)
    yield from sorted({name.rsplit(".", 1)[0] for name in names} - right.keys())
    for name, wanted in right.items():
        if not {f"{name}.lora_a", f"{name}.lora_b"} <= names:
            yield name
            continue
        down, up = (file.whole(f"{name}.lora_{side}").astype(float) for side in "ab")
        factor = alpha / len(down) if alpha else 1.0  # of 0 llama.cpp makes 1
        made = factor * up @ (down @ _probes(down.shape[-1]))
        if made.shape != wanted.shape or np.abs(made - wanted).max() > _OF_ADAPTER * np.abs(wanted).max():
            yield name
