"""The data of LLaMA-Factory's training files: `dataset`, `dataset_info.json` beside it, and how several are mixed.

Knows what a description of a data set may say; what is in its rows, others look at.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.other_tools.rules import Translation, enter_sources, listed
from tunesmith.rows.chat.conversation import CONVERSATION_COLUMNS
from tunesmith.rows.columns import plain_name
from tunesmith.rows.verdicts import VERDICTS

_TAGS = {
    "role_tag": ("from", "role"), "content_tag": ("value", "content"), "user_tag": ("human", "user"),
    "assistant_tag": ("gpt", "assistant"), "system_tag": ("system",),
    "observation_tag": ("observation", "tool"), "function_tag": ("function_call",),
}  # fmt: skip

_BESIDE = {"kto_tag": VERDICTS, "tools": frozenset({"tools"}), "history": frozenset({"history"})}
"""What is found by the names of columns alone, and by which."""
_OWN_COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}


def read_data(reading: Translation, folder: Path) -> None:
    """`dataset` and `eval_dataset`, by `dataset_info.json` where there is one."""
    directory = reading.take("dataset_dir") or "data"
    each = reading.take("max_samples")
    if each is not None and not str(each).isdigit():
        reading.refuse("max_samples", f"`max_samples={each}` is no number of rows.", "Write a number.")
        return
    strategy = str(reading.take("mix_strategy") or "concat")
    probabilities = reading.take("interleave_probs")
    weights = None if probabilities is None else listed(probabilities)
    if isinstance(directory, Mapping):
        reading.refuse("dataset_dir", "`dataset_dir` is a folder.", "Write its path.")
        return
    online = str(directory).upper().startswith("ONLINE")
    info, place = ({}, folder) if online else _info(reading, str(directory), folder)
    for field, ours in (("dataset", "train_file"), ("eval_dataset", "eval_file")):
        given = reading.take(field)
        if given is None:
            continue
        names = listed(given)
        if any(not isinstance(name, str) for name in names):
            reading.refuse(field, f"`{field}` is a list of names.", "Write them with commas.")
            continue
        read = (_source(reading, name, info, place, ours, len(names)) for name in names)
        sources = [source for source in read if source is not None]
        if not sources:
            continue
        if ours == "train_file":
            _mixed(reading, sources, each, strategy, weights)
        enter_sources(reading, field, ours, sources)


def _mixed(
    reading: Translation, sources: list[dict[str, Any]], each: Any, strategy: str, weights: list[Any] | None
) -> None:
    each = None if each is None else int(each)
    if each is not None and len(sources) > 1:
        for source in sources:  # it counts for each data set there
            source["rows"] = min(each, source.get("rows", each))
    elif each is not None:
        reading.parameters["max_samples"] = each
    if strategy == "concat" or len(sources) == 1:
        if weights is not None and len(sources) > 1:
            reading.refuse(
                "interleave_probs", "`interleave_probs` has no effect with `mix_strategy=concat`.",
                "Set `mix_strategy: interleave_under`, or leave it out.",
            )  # fmt: skip
    elif strategy in ("interleave_under", "interleave_once"):
        if weights is not None and len(weights) != len(sources):
            reading.refuse(
                "interleave_probs", f"{len(sources)} data sets have {len(weights)} probabilities.",
                "Give one for each.",
            )  # fmt: skip
            return
        if strategy == "interleave_once":
            reading.say(
                "train_file", "`mix_strategy=interleave_once` takes every row once, as it is done here."
            )
            return
        for source, weight in zip(sources, weights or [1.0] * len(sources), strict=True):
            source["weight"] = weight
    else:
        reading.refuse(
            "mix_strategy", f"`mix_strategy={strategy}` takes rows of small data sets again and again.",
            "Use `interleave_under`, or `concat` to take every row once.",
        )  # fmt: skip


def _info(reading: Translation, directory: str, folder: Path) -> tuple[dict[str, Any], Path]:
    """What `dataset_info.json` says, and the folder it lies in."""
    tried = [Path(directory).expanduser(), folder / directory]
    for place in tried:
        file = place / "dataset_info.json"
        if not file.is_file():
            continue
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reading.refuse("dataset_dir", f"`{file}` cannot be read: {error}.", "Fix it, or name the files.")
            return {}, place
        if isinstance(found, dict):
            return found, place
    reading.say(
        "dataset_dir", f"There is no `{tried[0] / 'dataset_info.json'}`: names are those of data sets here."
    )
    return {}, next((place for place in tried if place.is_dir()), tried[0])


def _source(
    reading: Translation, name: str, info: Mapping[str, Any], place: Path, ours: str, several: int
) -> dict[str, Any] | None:
    """A data set by its name."""
    told = info.get(name)
    if told is None:
        if (place / name).is_file():
            return {"path": str((place / name).absolute())}
        if Path(name).exists() or "/" in name or "." in name or not info:
            return {"path": name}
        known = ", ".join(f"`{known}`" for known in list(info)[:5])
        reading.refuse(
            ours, f"`dataset_info.json` has no `{name}`; it has {known}.", "Name one of them, or a file."
        )
        return None
    if not isinstance(told, Mapping):
        reading.refuse(ours, f"`{name}` in `dataset_info.json` is no mapping.", "Fix it.")
        return None
    if told.get("ranking"):
        reading.refuse(ours, f"`{name}` holds preferences, which are not trained yet.", "Leave it out.")
        return None
    if told.get("script_url") or (told.get("ms_hub_url") and not told.get("hf_hub_url")):
        reading.refuse(
            ours, f"`{name}` comes by a script, or from another hub than Hugging Face's.",
            "Bring it here as JSONL first, and name the file.",
        )  # fmt: skip
        return None
    _columns(reading, name, told, ours, several)
    source = _place_of(told, place)
    if source is None:
        reading.refuse(ours, f"`{name}` in `dataset_info.json` names no file.", "Give it a `file_name`.")
        return None
    if str(told.get("num_samples", "")).isdigit():
        source["rows"] = int(told["num_samples"])
    return source


def _place_of(told: Mapping[str, Any], place: Path) -> dict[str, Any] | None:
    """Where the rows of a described data set lie."""
    if told.get("hf_hub_url"):
        source: dict[str, Any] = {"path": f"hf://{told['hf_hub_url']}"}
        for theirs, key in (("subset", "name"), ("split", "split"), ("folder", "data_dir")):
            if told.get(theirs):
                source[key] = told[theirs]
        return source
    if told.get("cloud_file_name"):
        return {"path": str(told["cloud_file_name"])}
    return {"path": str((place / str(told["file_name"])).absolute())} if told.get("file_name") else None


def _columns(reading: Translation, name: str, told: Mapping[str, Any], ours: str, several: int) -> None:
    """Which columns hold what, where they are not called as they are found by themselves."""
    columns = {str(key): value for key, value in (told.get("columns") or {}).items() if value}
    for tag, value in (told.get("tags") or {}).items():
        if value not in _TAGS.get(str(tag), (value,)):
            reading.refuse(
                ours, f"`{name}`: `{tag}={value}` is none of the names that are read.",
                "Rename it in the rows, as in `{\"from\": \"human\", \"value\": ...}`.",
            )  # fmt: skip
    messages = columns.pop("messages", None)
    if messages and messages not in CONVERSATION_COLUMNS:
        reading.refuse(
            ours,
            f"`{name}`: the turns lie in `{messages}`.",
            "Call the column `messages` or `conversations`.",
        )
    for media in ("images", "videos", "audios"):
        if columns.pop(media, None):
            reading.refuse(ours, f"`{name}` holds {media}; texts are trained here.", "Leave it out.")
    for theirs, read_as in _BESIDE.items():
        named = columns.pop(theirs, None)
        if named and plain_name(str(named)) not in read_as:
            reading.refuse(
                ours,
                f"`{name}` keeps its `{theirs}` in `{named}`, where nobody would read it.",
                f"Call the column `{theirs}`.",
            )
    if columns.get("prompt") and columns.get("prompt") == columns.get("response"):
        columns.pop("response")
    other = {
        key: value for key, value in columns.items() if key in _OWN_COLUMNS and value != _OWN_COLUMNS[key]
    }
    if not other:
        return
    is_text = reading.left.get("stage") == "pt"
    if is_text and set(other) == {"prompt"}:
        reading.parameters["text_column"] = other["prompt"]
        return
    if several > 1 or "query" in other or (columns.keys() - {"prompt", "response", "system"}):
        reading.refuse(
            ours,
            f"`{name}` has columns of other names: {', '.join(f'`{value}`' for value in other.values())}.",
            "Rename them to `instruction`, `input` and `output` first (`tunesmith data run map`).",
        )
        return
    parameters = {"prompt": "prompt_column", "response": "response_column", "system": "system_column"}
    whole = {"prompt": "instruction", "response": "output"} | columns
    reading.parameters |= {parameters[key]: whole[key] for key in parameters if key in whole}
