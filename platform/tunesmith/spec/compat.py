"""Reads what other tools say in another structure: model-compose's trainer block, SimpleFoundation, Hugging Face.

Names that differ only in spelling are aliases of their parameter. Here is the rest: one name that stands for several
parameters, nested groups, values of another type. Everything that was read leaves a notice.

Knows other tools' structures; knows nothing of files or of how training is done.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tunesmith.errors import Problem
from tunesmith.spec.base import Notice

_TRUE = {"true", "1", "yes", "on", "t", "y"}
_FALSE = {"false", "0", "no", "off", "f", "n"}

_NESTED: dict[str, dict[str, str]] = {
    "lora": {
        "rank": "r",
        "r": "r",
        "alpha": "lora_alpha",
        "lora_alpha": "lora_alpha",
        "dropout": "lora_dropout",
        "lora_dropout": "lora_dropout",
        "bias": "bias",
        "target_modules": "target_modules",
        "use_rslora": "use_rslora",
        "use_dora": "use_dora",
    },
    "lr_scheduler_kwargs": {
        "num_cycles": "num_cycles",
        "min_lr": "min_lr",
        "num_decay_steps": "num_decay_steps",
    },
}
_QUANTIZATION: dict[str, dict[str, Any]] = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "fp4": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
    # bitsandbytes has no 4-bit integers; fp4 is its nearest.
    "int4": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
    "int8": {"load_in_8bit": True},
    "none": {},
}
_WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {"fraction": (1, 1.0, "1", "1.0"), "type": ("model-trainer",)}
"""Names that say what is so anyhow, with the values that do."""


class ForeignName(NamedTuple):
    """A name of another tool that is no spelling of one parameter."""

    stands_for: tuple[str, ...]
    is_switch: bool
    help: str


FOREIGN: dict[str, ForeignName] = {
    "peft_adapter": ForeignName(("use_lora",), False, "`lora` or `none`."),
    "finetuning_type": ForeignName(("use_lora",), False, "`lora` or `full`."),
    "quantization": ForeignName(
        ("load_in_4bit", "load_in_8bit", "bnb_4bit_quant_type"), False, "`nf4`, `fp4`, `int8` or `none`."
    ),
    "adapter_name_or_path": ForeignName(("attach_lora_path",), False, "A LoRA to train further."),
    "train_on_inputs": ForeignName(("assistant_only_loss",), True, "The contrary of `assistant_only_loss`."),
    "use_cpu": ForeignName(("device",), True, "`device=cpu`."),
    "use_wandb": ForeignName(("report_to",), True, "Report to W&B too."),
    "task_type": ForeignName(("training_type",), False, "`CAUSAL_LM` or `SEQ_CLS`."),
    "lr_scheduler_kwargs": ForeignName(("num_cycles", "min_lr", "num_decay_steps"), False, "JSON."),
    "lora": ForeignName(("use_lora", "r", "lora_alpha", "lora_dropout", "bias"), False, "JSON."),
}
"""Every name that is read here; the command line has a flag for each."""


class _Reading:
    """One mapping while it is rewritten."""

    def __init__(self, found: dict[str, Any], notices: list[Notice], problems: list[Problem]) -> None:
        self.found, self.notices, self.problems = found, notices, problems

    def put(self, said: str, values: Mapping[str, Any]) -> None:
        """Enter what something stands for, unless it was said in our own words too."""
        for name, value in values.items():
            if name not in self.found or self.found[name] is None:
                self.found[name] = value
            elif not _same(self.found[name], value):
                self.refuse(
                    name,
                    f"`{said}` says `{name}={_shown(value)}`, and `{name}={_shown(self.found[name])}` is given too.",
                    "Give only one of them.",
                )
                return
        if values:
            words = ", ".join(f"`{name}={_shown(value)}`" for name, value in values.items())
            self.notices.append(Notice(field=next(iter(values)), message=f"`{said}` was read as {words}."))

    def refuse(self, field: str, message: str, hint: str) -> None:
        self.problems.append(Problem(field=field, message=message, hint=hint))

    def switch(self, name: str) -> bool | None:
        """Take a switch out; `None` where there is none."""
        if name not in self.found:
            return None
        given = self.found.pop(name)
        word = str(given).lower()
        if given is None or word in _TRUE | _FALSE:
            return None if given is None else word in _TRUE
        self.refuse(name, f"`{name}={_shown(given)}` is neither true nor false.", "Write `true` or `false`.")
        return None

    def choice(self, name: str, choices: Mapping[str, Mapping[str, Any]]) -> None:
        """Take one of a few words out and enter what it stands for."""
        given = self.found.pop(name)
        word = "none" if given is None else str(given)
        if word.lower() in choices:
            self.put(f"{name}={word}", choices[word.lower()])
        else:
            known = ", ".join(f"`{choice}`" for choice in choices)
            self.refuse(name, f"`{name}={word}` is not known here.", f"Known are: {known}.")


def restructure(found: dict[str, Any], notices: list[Notice], problems: list[Problem]) -> None:
    """Rewrite in place what other tools say in another structure; our own names stay.

    Args:
        found: What was given, with aliases already mapped.
        notices: Takes a notice of each thing that was read in another way.
        problems: Takes what cannot be read.
    """
    reading = _Reading(found, notices, problems)
    _drop_what_says_nothing(reading)
    _unnest(reading)
    for name, read in _READERS.items():
        if name in found:
            read(reading)


def trainer_block(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters in a configuration file: those below `spec`, or in model-compose's only trainer, or all."""
    if isinstance(document.get("spec"), Mapping):
        return dict(document["spec"])
    components = document.get("components")
    if isinstance(components, list):
        trainers = [
            item for item in components if isinstance(item, Mapping) and item.get("type") == "model-trainer"
        ]
        if len(trainers) == 1:
            return dict(trainers[0])
    return document


def _drop_what_says_nothing(reading: _Reading) -> None:
    found = reading.found
    if found.get("type") == "model-trainer":
        found.pop("id", None)
    for name, values in _WITHOUT_EFFECT.items():
        if name in found and (found[name] is None or _is_one_of(found[name], values)):
            given = found.pop(name)
            reading.notices.append(
                Notice(field=name, message=f"`{name}={_shown(given)}` says what is so anyhow.")
            )
    if "fraction" in found:
        reading.refuse(
            "fraction",
            "`fraction` takes a share of the rows, which are counted only later.",
            "Give the number of rows as `max_samples`.",
        )
        del found["fraction"]


def _unnest(reading: _Reading) -> None:
    found = reading.found
    for group, names in _NESTED.items():
        for key in [key for key in found if key.startswith(f"{group}.")]:
            inner = key.removeprefix(f"{group}.")
            if inner in names:
                reading.put(key, {names[inner]: found.pop(key)})
        if group not in found:
            continue
        nested = found.pop(group)
        if nested is None:
            continue
        if not isinstance(nested, Mapping):
            reading.refuse(group, f"`{group}` is a mapping of names to values.", _known(names))
            continue
        if group == "lora":
            reading.put("lora", {"use_lora": True})
        for inner, value in nested.items():
            if inner in names:
                reading.put(f"{group}.{inner}", {names[inner]: value})
            else:
                reading.refuse(f"{group}.{inner}", f"`{group}` knows no `{inner}`.", _known(names))


def _adapter(reading: _Reading) -> None:
    reading.choice("peft_adapter", {"lora": {"use_lora": True}, "none": {"use_lora": False}})


def _finetuning(reading: _Reading) -> None:
    reading.choice("finetuning_type", {"lora": {"use_lora": True}, "full": {"use_lora": False}})


def _quantization(reading: _Reading) -> None:
    reading.choice("quantization", _QUANTIZATION)


def _task_type(reading: _Reading) -> None:
    reading.choice("task_type", {"causal_lm": {}, "seq_cls": {"training_type": "classification"}, "none": {}})


def _existing_adapter(reading: _Reading) -> None:
    given = reading.found.pop("adapter_name_or_path")
    if given is not None:
        reading.put("adapter_name_or_path", {"attach_lora_path": given})


def _on_inputs(reading: _Reading) -> None:
    given = reading.switch("train_on_inputs")
    if given is not None:
        reading.put(f"train_on_inputs={_shown(given)}", {"assistant_only_loss": not given})


def _cpu(reading: _Reading) -> None:
    if reading.switch("use_cpu"):
        reading.put("use_cpu=true", {"device": "cpu"})


def _wandb(reading: _Reading) -> None:
    if not reading.switch("use_wandb"):
        return
    given = reading.found.get("report_to")
    named = [part.strip() for part in given.split(",")] if isinstance(given, str) else given
    others = [name for name in named or ["mlflow"] if name not in ("none", "wandb")]
    reading.found["report_to"] = None
    reading.put("use_wandb=true", {"report_to": [*others, "wandb"]})


def _everywhere(reading: _Reading) -> None:
    if reading.found["report_to"] in ("all", ["all"]):
        reading.found["report_to"] = None
        reading.put("report_to=all", {"report_to": ["mlflow", "tensorboard", "wandb"]})


def _zero(reading: _Reading) -> None:
    given = reading.found["deepspeed"]
    word = str(given).lower().removeprefix("zero").strip("_- ")
    if not isinstance(given, bool) and word in {"0", "1", "2", "3"}:
        del reading.found["deepspeed"]
        reading.put(f"deepspeed={given}", {"deepspeed_stage": int(word)})
    elif isinstance(given, Mapping):
        del reading.found["deepspeed"]
        reading.refuse(
            "deepspeed", "A DeepSpeed configuration is given as a file.", "Give the path of a JSON file."
        )


def _attention(reading: _Reading) -> None:
    given = reading.found["attn_implementation"]
    if isinstance(given, bool) or str(given).lower() in {"true", "false"}:
        chosen = "flash_attention_2" if str(given).lower() == "true" else "auto"
        reading.found["attn_implementation"] = None
        reading.put(f"flash_attn={_shown(given)}", {"attn_implementation": chosen})


def _targets(reading: _Reading) -> None:
    if reading.found["target_modules"] is None:
        reading.found["target_modules"] = "auto"


def _ratio(reading: _Reading) -> None:
    given = reading.found["warmup_steps"]
    if isinstance(given, float) and 0 < given < 1:  # transformers 5 has one field for both
        del reading.found["warmup_steps"]
        reading.put(f"warmup_steps={given:g}", {"warmup_ratio": given})


_READERS: dict[str, Callable[[_Reading], None]] = {
    "peft_adapter": _adapter,
    "finetuning_type": _finetuning,
    "quantization": _quantization,
    "task_type": _task_type,
    "adapter_name_or_path": _existing_adapter,
    "train_on_inputs": _on_inputs,
    "use_cpu": _cpu,
    "use_wandb": _wandb,
    "report_to": _everywhere,
    "deepspeed": _zero,
    "attn_implementation": _attention,
    "target_modules": _targets,
    "warmup_steps": _ratio,
}


def _known(names: Mapping[str, str]) -> str:
    return "It knows " + ", ".join(f"`{name}`" for name in names) + "."


def _is_one_of(given: Any, values: tuple[Any, ...]) -> bool:
    return not isinstance(given, bool) and given in values


def _same(one: Any, other: Any) -> bool:
    return (one == other and isinstance(one, bool) == isinstance(other, bool)) or str(one).lower() == str(
        other
    ).lower()


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
