"""Which file of a model is the one for a machine: those that were made, those that could be, and one that is named.

Knows views and sizes; asks no database.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tunesmith.package_views import PackageView, WhichRow, WhichView

_SPARE_BYTES = 2**25
"""What llama.cpp takes besides: its own code, and what it computes in."""
_WORD_BYTES = 640
"""A word of the vocabulary: its text and merges, as they are looked up, and its logits of some tokens.

With `_SPARE_BYTES` from what `llama-server` held of SmolLM2 (one slot, files of 105 and 271 MB, contexts of 512 and
4096): the sum is within 5 % of each. What it computes in grows with a model's width, and is a small part of its file;
windows of attention, for which llama.cpp may keep less, are not counted."""
_LEAST_CONTEXT = 256
"""Tokens of a talk that is worth something; contexts are told in steps of it."""
CONTEXT = 4096


def memory_of(file_bytes: int, context: int, forecast: Mapping[str, Any]) -> int:
    """What llama.cpp takes of memory to run a file, about: the file, the keys and values of a context, what it computes
    in.

    Args:
        file_bytes: The file's.
        context: Tokens of the longest talk.
        forecast: See `tunesmith.gguf.Forecast`.
    """
    words = int(forecast["words"])
    return file_bytes + context * int(forecast["cache_bytes"]) + words * _WORD_BYTES + _SPARE_BYTES


def rows_of(
    packages: Iterable[PackageView], forecast: Mapping[str, Any] | None, context: int, limit: int | None
) -> list[WhichRow]:
    """Every file that was made, the newest of each type, and what those of other types would take.

    Args:
        packages: Of one model, the newest first.
        forecast: See `memory_of`; None where nobody can say here.
        context: See `memory_of`.
        limit: Of memory, in bytes.
    """
    found: dict[str, WhichRow] = {}
    for package in packages:
        for file in package.files:
            if file.verdict == "failed" or file.type == "LoRA" or file.type in found:
                continue
            found[file.type] = WhichRow(
                type=file.type,
                file=file.name,
                task_id=package.task_id,
                bytes=file.bytes,
                is_proven=file.verdict == "proven",
                kl_mean=file.kl_mean,
                top1=file.top1,
                tokens_per_second=file.tokens_per_second,
                measured_on=file.measured_on,
            )
    for kind, size in (forecast["sizes"] if forecast else {}).items():
        found.setdefault(kind, WhichRow(type=kind, bytes=size))
    made = [_with_memory(row, forecast, context, limit) for row in found.values()]
    return sorted(made, key=lambda row: (-row.bytes, row.type))


def _with_memory(
    row: WhichRow, forecast: Mapping[str, Any] | None, context: int, limit: int | None
) -> WhichRow:
    if forecast is None:
        return row.model_copy(update={"fits": row.bytes <= limit if limit is not None else None})
    memory = memory_of(row.bytes, context, forecast)
    return row.model_copy(
        update={"memory_bytes": memory, "fits": memory <= limit if limit is not None else None}
    )


def which(
    rows: list[WhichRow], context: int, limit: int | None, forecast: Mapping[str, Any] | None = None
) -> WhichView:
    """The table, and one of it: of the proven files that fit the one that is closest to the model.

    Args:
        rows: See `rows_of`.
        context: Tokens that the memory is told for.
        limit: Of memory, in bytes; None names the closest of all.
        forecast: See `memory_of`; with it a shorter context is named where nothing fits.
    """
    proven = [row for row in rows if row.file and row.is_proven and row.kl_mean is not None]
    fitting = [row for row in proven if row.fits is not False]
    # As close as another one to the second digit, the smaller is the better.
    best = min(fitting, key=lambda row: (float(f"{row.kl_mean:.1g}"), row.bytes), default=None)
    view = WhichView(context=context, limit_bytes=limit, rows=rows, sentence={})
    if best is not None:
        return view.model_copy(
            update={"recommended": best.file, "sentence": _closest(best, fitting, context, limit)}
        )
    could = [row for row in rows if row.file is None and row.fits is not False]
    largest = max(could, key=lambda row: row.bytes, default=None) if limit is not None else None
    if largest is None and limit is not None and forecast is not None:
        sentence = _shorter(proven or rows, context, limit, forecast)
    else:
        sentence = _none(proven, largest, context, limit)
    return view.model_copy(update={"sentence": sentence})


def _closest(best: WhichRow, fitting: list[WhichRow], context: int, limit: int | None) -> dict[str, str]:
    top1 = f"{best.top1:.0%}" if best.top1 is not None else "?"
    memory = f"{best.memory_bytes / 1e9:.2f} GB" if best.memory_bytes else "?"
    fit = f" that fit {limit / 1e9:.2f} GB" if limit is not None else ""
    among = f"among the proven files{fit}, {len(fitting)} in all"
    fits = f"能放进 {limit / 1e9:.2f} GB 的 " if limit is not None else ""
    return {
        "en": f"`{best.file}` is the closest to the model {among} (about {memory} at {context} tokens): its next token "
        f"differs by {best.kl_mean:.2g} nats and is the same in {top1}; what that costs in your task, only an "
        "evaluation says.",
        "zh": f"在{fits}{len(fitting)} 个已证明的文件中，`{best.file}` 与模型最接近"
        f"（{context} 个词元时约需 {memory}）："
        f"下一词元平均相差 {best.kl_mean:.2g} nats，{top1} 相同；对您的任务影响如何，只有评估才能说明。",
    }


def _shorter(rows: list[WhichRow], context: int, limit: int, forecast: Mapping[str, Any]) -> dict[str, str]:
    """Nothing fits: the context at which the smallest would, if there is one."""
    found = _none([], None, context, limit)
    smallest = min(rows, key=lambda row: row.bytes, default=None)
    if smallest is None:
        return found
    room = limit - memory_of(smallest.bytes, 0, forecast)
    tokens = room // max(1, int(forecast["cache_bytes"])) // _LEAST_CONTEXT * _LEAST_CONTEXT
    if tokens < _LEAST_CONTEXT:
        return found
    name = smallest.file or smallest.type
    return {
        "en": f"{found['en']} With a context of {tokens} tokens `{name}` would.",
        "zh": f"{found['zh']}上下文为 {tokens} 个词元时，`{name}` 可以放下。",
    }


def _none(
    proven: list[WhichRow], largest: WhichRow | None, context: int, limit: int | None
) -> dict[str, str]:
    if largest is not None:
        why_en = "None of the proven files fits" if proven else "No proven file was made yet"
        why_zh = "已证明的文件都放不下" if proven else "尚未制作任何已证明的文件"
        memory = (largest.memory_bytes or largest.bytes) / 1e9
        return {
            "en": f"{why_en}; the largest type that would fit is `{largest.type}` (about {memory:.2f} GB at {context} "
            "tokens): how close it is shows once it is made.",
            "zh": f"{why_zh}；能放下的最大类型是 `{largest.type}`（{context} 个词元时约需 {memory:.2f} GB）："
            "与模型有多接近，制作后才知道。",
        }
    if limit is None:
        return {
            "en": "No proven file was made yet, and no limit is given: nothing is recommended.",
            "zh": "尚未制作任何已证明的文件，也未给出限制：没有推荐。",
        }
    return {
        "en": f"Nothing of this model fits {limit / 1e9:.2f} GB at {context} tokens.",
        "zh": f"在 {context} 个词元时，此模型没有任何文件能放进 {limit / 1e9:.2f} GB。",
    }
