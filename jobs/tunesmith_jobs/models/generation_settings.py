"""How a model's answers are drawn and where they end: the `generation_config.json` that goes along with its weights.

An adapter has none of its own, and its base may not know the mark that ends an answer in the template that was trained.
Knows templates and the file; knows no library of models.
"""

import json
from pathlib import Path
from typing import Any

from tunesmith.model_folder import readable_generation
from tunesmith.rows.chat.prompts import PromptEncoder
from tunesmith.rows.chat.template import find_template
from tunesmith.rows.files.json_file import read_object
from tunesmith.spec.training import TrainSpec

GENERATION = "generation_config.json"
_MARKS = ("bos_token_id", "eos_token_id", "pad_token_id")
_ALL = 2**31 - 1


def is_chat(spec: TrainSpec, source: Path, tokenizer: Path | None) -> bool:
    """Whether a training was on conversations of a template."""
    has_template = spec.chat_template is not None or any(map(find_template, (source, tokenizer or source)))
    return spec.training_type == "sft" and has_template


def end_of_answers(spec: TrainSpec, source: Path, tokenizer: Path | None) -> int | None:
    """The token that ends an answer in the training's template; None where there is none.

    Args:
        spec: The training's parameters.
        source: The folder with the model's tokenizer and template.
        tokenizer: Another folder whose tokenizer was used instead.
    """
    if not is_chat(spec, source, tokenizer):
        return None
    own = str(tokenizer) if tokenizer else None
    encoder = PromptEncoder.from_folder(source, _ALL, tokenizer=own, chat_template=spec.chat_template)
    return encoder.end_of_answer()


def write_generation(target: Path, base: Path, end: int | None) -> None:
    """Write the settings, from what lies there or from the base's own, so that `generate` ends where it was trained to.

    Args:
        target: The model's folder, made by this process, its configurations no links.
        base: The base model's folder.
        end: The token that ends an answer.
    """
    file = target / GENERATION
    is_there = file.is_file()
    settings = read_object(file) if is_there else _of_base(base)
    given = settings.get("eos_token_id")
    known = given if isinstance(given, list) else [] if given is None else [given]
    if end is not None and end not in known:
        settings["eos_token_id"] = [*known, end] if known else end
    elif is_there:
        return
    file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _of_base(base: Path) -> dict[str, Any]:
    if (base / GENERATION).is_file():
        return readable_generation(read_object(base / GENERATION))
    config = read_object(base / "config.json")
    return {name: config[name] for name in _MARKS if config.get(name) is not None}
