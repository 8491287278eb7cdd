"""The lists of data sets in Axolotl's training files, and which types of rows are read here as they are there.

Knows what an entry may say; what is in its rows, others look at.
"""

from collections.abc import Mapping
from typing import Any

from tunesmith.other_tools.rules import Translation, enter_sources, shown
from tunesmith.rows.chat.conversation import CONVERSATION_COLUMNS

_CONVERSATIONS = ("chat_template", "sharegpt", "chat_template.default", "input_output_chat")
_ALPACA = (
    "alpaca",
    "alpaca:chat",
    "alpaca:phi",
    "alpaca_chat.load_qa",
    "alpaca_w_system",
    "gpteacher",
    "explainchoice",
)
_TEXTS = ("completion", "pretrain")
_ROLE_NAMES = {
    "role": {"role", "from"}, "content": {"content", "value"},
}  # fmt: skip
_ROLES = {
    "user": {"user", "human"}, "assistant": {"assistant", "gpt", "model", "chatgpt"}, "system": {"system"},
    "tool": {"tool", "observation", "function"},
}  # fmt: skip


def read_data(reading: Translation) -> None:
    """Enter what `datasets`, `test_datasets` and `pretraining_dataset` list."""
    pretraining = reading.take("pretraining_dataset")
    if pretraining is not None:
        reading.put("pretraining_dataset", {"training_type": "pretrain"})
    for field, ours in (("datasets", "train_file"), ("test_datasets", "eval_file")):
        given = reading.take(field)
        if field == "datasets" and pretraining is not None:
            given = pretraining
        if given is None or given == []:
            continue
        items = given if isinstance(given, list) else [given]
        kinds: list[str] = []
        sources = [source for item in items if (source := _source(reading, item, field, kinds)) is not None]
        if not sources:
            continue
        if ours == "train_file":
            _told(reading, kinds, field)
        elif reading.parameters.get("eval_strategy") is None and not _asks_when(reading):
            reading.parameters["eval_strategy"] = "epoch"
        enter_sources(reading, field, ours, sources)


def _asks_when(reading: Translation) -> bool:
    return any(
        reading.left.get(name) is not None for name in ("eval_steps", "evals_per_epoch", "eval_strategy")
    )


def _source(reading: Translation, item: Any, field: str, kinds: list[str]) -> dict[str, Any] | None:
    """One entry of a list of data sets."""
    if isinstance(item, str):
        item = {"path": item}
    if not isinstance(item, Mapping) or not item.get("path"):
        reading.refuse(
            field, f"An entry of `{field}` has no `path`.", "Write `- path: FILE` and `type: ...`."
        )
        return None
    item = {key: value for key, value in item.items() if value is not None}
    kind = item.get("type")
    if not _readable(reading, item, kind, field):
        return None
    kinds.append(str(kind))
    if item.get("shards") or item.get("preprocess_shards"):
        reading.refuse(
            field, f"`{item['path']}`: `shards` takes a part of the rows.", "Use `split: train[:10%]`."
        )
        return None
    source: dict[str, Any] = {"path": str(item["path"])}
    files = item.get("data_files")
    if str(item["path"]) in ("json", "csv", "parquet", "text") and files:
        source = {"path": files if isinstance(files, str) else str(files[0])}
        if not isinstance(files, str) and len(files) > 1:
            reading.refuse(field, f"`{item['path']}` names {len(files)} files.", "Write one entry for each.")
            return None
    elif files:
        source["data_files"] = files
    for theirs, key in (
        ("name", "name"),
        ("split", "split"),
        ("revision", "revision"),
        ("data_dir", "data_dir"),
    ):
        if item.get(theirs) and not (theirs == "split" and item[theirs] == "train"):
            source[key] = item[theirs]
    if item.get("trust_remote_code"):
        reading.say(field, "Code that comes with a data set is never run.")
    return source


def _readable(reading: Translation, item: Mapping[str, Any], kind: Any, field: str) -> bool:
    """Whether the rows of an entry are read here as they are there."""
    path = item["path"]
    if isinstance(kind, Mapping):
        return _own_format(reading, kind, path, field)
    word = str(kind or "")
    is_known = word in _CONVERSATIONS or word in _TEXTS or word in _ALPACA or not word
    if not is_known:
        reading.refuse(
            field, f"`{path}`: rows of `type: {word}` are not read here.",
            "Write them as `messages`, or as `instruction`, `input` and `output`.",
        )  # fmt: skip
        return False
    messages = item.get("field_messages")
    if messages and messages not in CONVERSATION_COLUMNS:
        reading.refuse(
            field,
            f"`{path}`: the turns lie in `{messages}`.",
            "Call the column `messages` or `conversations`.",
        )
        return False
    names = dict(item.get("message_property_mappings") or {})
    names |= {
        key: item[f"message_field_{key}"] for key in ("role", "content") if item.get(f"message_field_{key}")
    }
    wrong = [value for key, value in names.items() if key in _ROLE_NAMES and value not in _ROLE_NAMES[key]]
    for role, aliases in (item.get("roles") or {}).items():
        given = [aliases] if isinstance(aliases, str) else list(aliases)
        wrong += [alias for alias in given if alias not in _ROLES.get(role, {alias})]
    if wrong:
        reading.refuse(
            field, f"`{path}`: `{wrong[0]}` is none of the names that are read.", "Rename it in the rows."
        )
        return False
    trained = item.get("roles_to_train")
    if trained is not None and any(role not in _ROLES["assistant"] for role in trained):
        reading.refuse(
            field,
            f"`{path}`: `roles_to_train={shown(list(trained))}`; answers are trained here.",
            "Leave it out.",
        )
        return False
    if str(item.get("train_on_eos", "turn")) == "none":
        reading.refuse(field, f"`{path}`: an answer's end is trained here.", "Leave `train_on_eos` out.")
        return False
    return True


def _own_format(reading: Translation, kind: Mapping[str, Any], path: Any, field: str) -> bool:
    """A format that a file describes: columns are taken, a text around them is not."""
    pair = kind.get("field_instruction"), kind.get("field_output")
    if all(pair) and not any(kind.get(name) for name in ("field_input", "format", "system_prompt")):
        reading.parameters |= {"prompt_column": pair[0], "response_column": pair[1]}
        return True
    reading.refuse(
        field,
        f"`{path}` has a format of its own.",
        "Write its rows with `tunesmith data run map`, and name those.",
    )
    return False


def _told(reading: Translation, kinds: list[str], field: str) -> None:
    """Say what the types of rows mean here."""
    if any(kind in _ALPACA for kind in kinds):
        reading.say(
            field, "Rows of `instruction`, `input` and `output` are written with the chat template, not with Axolotl's "
            "own prompt text.",
        )  # fmt: skip
    texts = [kind in _TEXTS for kind in kinds]
    if any(texts) and not all(texts):
        reading.refuse(
            field, "Plain texts and conversations are listed together.", "Train them one after the other."
        )
    elif any(texts) and "training_type" not in reading.parameters:
        reading.parameters["text_column"] = "text"
