"""What of a LoRA's file (`peft_config_path`) cannot be trained, saved or merged under a task's other parameters.

Knows peft's fields by name; imports no library. What only the model's own layers tell is looked at where they are.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tunesmith.errors import InvalidInput, Problem
from tunesmith.spec.training import TrainSpec

_FIELD = "peft_config_path"
_FROM_WEIGHTS = ("pissa", "olora", "mica", "orthogonal")
"""Starts that compute with the base's weights, or are drawn in their number format."""

NOT_MERGED = {
    "alora_invocation_tokens": "lets the LoRA count only after certain tokens",
    "layer_replication": "lets several layers share the weights of one",
}
"""Fields of a LoRA that no merged model can stand for, each with the reason."""


def refuse_lora(values: Mapping[str, Any], spec: TrainSpec, rows: int | None = None) -> None:
    """Refuse a LoRA's file that does not go with the other parameters.

    Args:
        values: What it sets.
        spec: The task's parameters.
        rows: How many tokens the model has rows for, where that is known.

    Raises:
        InvalidInput: With every problem, each with its field and cure.
    """
    problems = [
        problem
        for found in (
            _starts(values, spec),
            _merging(values, spec),
            _ends(values, spec),
            _tokens(values, rows),
        )
        for problem in found
    ]
    if problems:
        raise InvalidInput(problems[0].message, hint=problems[0].hint, problems=problems)


def _problem(message: str, hint: str, field: str = _FIELD) -> Problem:
    return Problem(field=field, message=message, hint=hint)


def _starts(values: Mapping[str, Any], spec: TrainSpec) -> Iterator[Problem]:
    start = values.get("init_lora_weights")
    if not isinstance(start, str) or not start.lower().startswith(_FROM_WEIGHTS):
        return
    for name in ("load_in_4bit", "load_in_8bit"):
        if getattr(spec, name):
            yield _problem(
                f"`init_lora_weights={start}` computes with the base's weights, and `{name}` keeps them in integers.",
                f"Use `init_lora_weights` `true` or `gaussian`, or set `{name}=false`.",
                name,
            )
    if start.lower() == "orthogonal" and any(_is_odd(rank) for rank in _ranks(values)):
        yield _problem("`init_lora_weights=orthogonal` needs an even rank.", "Make `r` even.")
    changes_base = not start.lower().startswith(("mica", "orthogonal"))
    if changes_base and spec.deepspeed_stage == 3:
        yield _problem(
            f"`init_lora_weights={start}` changes the base's weights, which `deepspeed_stage=3` holds in parts.",
            "Use `deepspeed_stage=2`, or `init_lora_weights` `true` or `gaussian`.",
            "deepspeed_stage",
        )
    if changes_base and values.get("ensure_weight_tying"):
        yield _problem(
            f"`init_lora_weights={start}` takes other matrices out of each of two ends that share their weights, and "
            "`ensure_weight_tying` keeps one for both.",
            "Leave out one of them.",
        )
    if changes_base and values.get("target_parameters"):
        yield _problem(
            f"`init_lora_weights={start}` begins with a matrix's own directions; experts lie in one tensor of many.",
            "Take `target_parameters` out, or use `init_lora_weights` `true` or `gaussian`.",
        )


def _ranks(values: Mapping[str, Any]) -> list[Any]:
    patterns = values.get("rank_pattern")
    return [values.get("r", 8), *(patterns.values() if isinstance(patterns, Mapping) else ())]


def _is_odd(rank: Any) -> bool:
    return isinstance(rank, int) and rank % 2 == 1


def _merging(values: Mapping[str, Any], spec: TrainSpec) -> Iterator[Problem]:
    if not spec.merge_lora_after_training:
        return
    for name, why in NOT_MERGED.items():
        if values.get(name):
            message = f"`{name}` {why}: such a LoRA cannot be merged."
            yield _problem(message, "Set `merge_lora_after_training=false`.", "merge_lora_after_training")


def _ends(values: Mapping[str, Any], spec: TrainSpec) -> Iterator[Problem]:
    if values.get("ensure_weight_tying") and not values.get("modules_to_save") and spec.deepspeed_stage == 3:
        yield _problem(
            "`ensure_weight_tying` lets the head read the embedding's LoRA, which `deepspeed_stage=3` holds in parts.",
            "Use `deepspeed_stage=2`, or leave out `ensure_weight_tying`.",
            "deepspeed_stage",
        )
    if values.get("ensure_weight_tying") and values.get("use_dora"):
        yield _problem(
            "`ensure_weight_tying` and `use_dora` exclude each other: peft computes no number for a tied head.",
            "Leave out one of them.",
        )


def _tokens(values: Mapping[str, Any], rows: int | None) -> Iterator[Problem]:
    given = values.get("trainable_token_indices")
    lists = given.values() if isinstance(given, Mapping) else [given] if given is not None else []
    for ids in lists:
        is_list = isinstance(ids, list) and ids and all(type(one) is int and one >= 0 for one in ids)
        if not is_list:
            yield _problem(
                "`trainable_token_indices` is no list of tokens' numbers.",
                'Write `[5, 6]`, or `{"embed_tokens": [5, 6]}`.',
            )
        elif len(set(ids)) < len(ids):
            yield _problem("`trainable_token_indices` names a token twice.", "Name each once.")
        elif rows is not None and max(ids) >= rows:
            yield _problem(
                f"`trainable_token_indices` names the token {max(ids)}; the model has {rows}.",
                f"Name tokens below {rows}.",
            )
