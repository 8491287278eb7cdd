"""What a model says of itself: the `README.md` beside its weights, for the hub and for people.

Knows what a card holds; knows nothing of folders.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from tunesmith.model_folder import public_name, terms_of
from tunesmith.model_step import ModelOrigin
from tunesmith.spec.training import TrainSpec

_LICENSE_ID = re.compile(r"[a-z0-9][a-z0-9.-]*")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_TRAINED = """{head}# {title}

Made by Tunesmith.{note}

```python
{lines}
```
"""
_WHOLE = """from transformers import {auto}, AutoTokenizer
model, tokenizer = {auto}.from_pretrained("."), AutoTokenizer.from_pretrained(".")"""
_OVER_THE_HUBS = """from peft import AutoPeft{kind}
from transformers import AutoTokenizer
{classes}model = AutoPeft{kind}.from_pretrained("."{options})
tokenizer = AutoTokenizer.from_pretrained(".")"""
_OVER_ANOTHERS = """import json
from pathlib import Path
from peft import PeftModel
from transformers import {auto}, AutoTokenizer
base = json.loads(Path("manifest.json").read_text())["base_model"]  # or wherever you have the model `{base}`
{classes}model = PeftModel.from_pretrained({auto}.from_pretrained(base{options}), ".")
tokenizer = AutoTokenizer.from_pretrained(".")"""
_CLASSES = "classes = {classes}\n"
_OF_CLASSES = ", num_labels=len(classes), id2label=dict(enumerate(classes))"
_QUANTIZED = """ The adapter was trained over the base in {bits} bits: it computes exactly the same over a base
that is loaded so (`BitsAndBytesConfig`), and nearly the same over the base as it is stored."""
_PATTERNS = """ Some of its layers have a rank or a scale of their own (`rank_pattern`, `alpha_pattern`): vLLM
and llama.cpp read one for all of them and would compute something else. Give those the merged model."""

_PACKAGED = """---
{head}---
# {title}

Made by Tunesmith from {made_of}.

| | |
|---|---|
{facts}
{terms}
```python
from transformers import {kind}, AutoTokenizer
model, tokenizer = {kind}.from_pretrained("."), AutoTokenizer.from_pretrained(".")
```

`manifest.json` names every file with its size and sha256.
"""

_GGUF = """---
{head}---
# {title}

Made by Tunesmith from {made_of}, for llama.cpp.

| | |
|---|---|
{facts}
{terms}
{files}

`manifest.json` names every file with its size and sha256; each `.proof.json` says what was compared.
"""


def trained_card(
    base: str,
    title: str,
    *,
    is_adapter: bool,
    labels: Sequence[str] | None,
    quantized_bits: int | None = None,
    has_patterns: bool = False,
) -> str:
    """The card of what a training leaves: how it is loaded.

    Args:
        base: What the base model is called (`public_name`). Where that is no hub id, the manifest says where it lay.
        title: The task's name.
        is_adapter: Whether it is an adapter over that base.
        labels: The classes' names, where it classifies. A whole model's configuration has them; an adapter has none,
            and its base knows nothing of them.
        quantized_bits: In how many bits the base's weights were while it was trained; None where they were whole.
        has_patterns: Whether some layers of the adapter have a rank or a scale of their own.
    """
    kind = "ModelFor" + ("SequenceClassification" if labels is not None else "CausalLM")
    lines = _WHOLE if not is_adapter else _OVER_THE_HUBS if "/" in base else _OVER_ANOTHERS
    has_classes = is_adapter and labels is not None
    classes = (
        _CLASSES.format(classes=json.dumps(list(labels or ()), ensure_ascii=False)) if has_classes else ""
    )
    note = _QUANTIZED.format(bits=quantized_bits) if is_adapter and quantized_bits else ""
    note += _PATTERNS if is_adapter and has_patterns else ""
    named = _base_of(base)
    return _TRAINED.format(
        head=f"---\n{yaml.safe_dump(named)}---\n" if named else "",
        title=title,
        note=note,
        lines=lines.format(
            auto=f"Auto{kind}",
            kind=kind,
            base=base,
            classes=classes,
            options=_OF_CLASSES if has_classes else "",
        ),
    )


def packaged_card(
    origin: ModelOrigin,
    training: TrainSpec,
    *,
    title: str,
    step: int,
    base_license: str | None,
    is_merged: bool,
) -> str:
    """The card of a model that stands by itself: what it was made of, and how it is loaded.

    Args:
        origin: What it was made of.
        training: The training whose model it is.
        title: Its name.
        step: The step that it was saved at.
        base_license: What the base's files name as their license.
        is_merged: Whether an adapter was merged into its base.
    """
    base = _public_base(origin)
    head: dict[str, object] = {"library_name": "transformers"} | _base_of(base)
    is_classifier = training.training_type == "classification"
    head["pipeline_tag"] = "text-classification" if is_classifier else "text-generation"
    head |= _license(base_license)
    how = f"`{training.training_type}`" + (", LoRA, merged" if is_merged else "")
    facts = _facts(origin, how, step, base_license)
    return _PACKAGED.format(
        head=yaml.safe_dump(head, sort_keys=False, allow_unicode=True),
        title=title,
        made_of=f"the training task `{origin.task_name}`" if origin.task_name else f"`{base}`",
        facts="\n".join(f"| {name} | {value.replace('|', '/')} |" for name, value in facts),
        terms="".join(f"\n{line}\n" for line in terms_of(base_license).lines),
        kind="AutoModelForSequenceClassification" if is_classifier else "AutoModelForCausalLM",
    )


def gguf_card(
    origin: ModelOrigin,
    training: TrainSpec,
    *,
    title: str,
    step: int,
    base_license: str | None,
    files: Sequence[tuple[str, str]],
    matrix: str | None = None,
) -> str:
    """The card of GGUF files: what they were made of, and what was proven of each.

    Args:
        origin: See `packaged_card`.
        training: See `packaged_card`.
        title: See `packaged_card`.
        step: See `packaged_card`.
        base_license: See `packaged_card`.
        files: Names, each with the sentence of its proof.
        matrix: What the importance matrix of quantised files was computed of.
    """
    head: dict[str, object] = {"library_name": "gguf"} | _base_of(_public_base(origin))
    head |= {"pipeline_tag": "text-generation"} | _license(base_license)
    facts = _facts(origin, f"`{training.training_type}`", step, base_license)
    facts += [("Importance matrix", matrix)] if matrix else []
    return _GGUF.format(
        head=yaml.safe_dump(head, sort_keys=False, allow_unicode=True),
        title=title,
        made_of=f"the training task `{origin.task_name}`"
        if origin.task_name
        else f"`{_public_base(origin)}`",
        facts="\n".join(f"| {name} | {value.replace('|', '/')} |" for name, value in facts),
        terms="".join(f"\n{line}\n" for line in terms_of(base_license).lines),
        files="\n".join(f"- {sentence}" for _, sentence in files),
    )


def _public_base(origin: ModelOrigin) -> str:
    # The folder is passed on: where its base lay on this machine helps nobody, and tells of the machine.
    return public_name(Path(origin.base)) if Path(origin.base).is_absolute() else origin.base


def _base_of(base: str) -> dict[str, str]:
    """What a card's head says of the base: the Hub takes ids of its own alone there, and refuses any other card."""
    return {"base_model": base} if _HUB_ID.fullmatch(base) else {}


def license_line(base_license: str | None) -> str:
    """What a card's head says of the license, each line with its end; nothing where none is named."""
    found = _license(base_license)
    return str(yaml.safe_dump(found, sort_keys=False, allow_unicode=True)) if found else ""


def _license(base_license: str | None) -> dict[str, object]:
    if base_license and _LICENSE_ID.fullmatch(base_license):
        return {"license": base_license}
    return {"license": "other", "license_name": base_license} if base_license else {}


def _facts(origin: ModelOrigin, how: str, step: int, base_license: str | None) -> list[tuple[str, str]]:
    facts = [("Base model", f"`{_public_base(origin)}`")]
    if origin.task_id:
        facts.append(("Training task", f"`{origin.task_name}` (`{origin.task_id}`), step {step}"))
        facts.append(("Kind of training", how))
    if origin.datasets:
        facts.append(("Data sets", ", ".join(f"`{name}`" for name in origin.datasets)))
    facts.append(("License of the base", base_license or "not named by its files"))
    terms = terms_of(base_license)
    return [*facts, ("What it asks", terms.words)] if terms.is_shown and base_license else facts
