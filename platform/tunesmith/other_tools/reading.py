"""A configuration file of whichever tool: recognised, and said in our words.

Ours pass as they are, and so do those of SimpleFoundation and model-compose, whose names are ours or spellings of them.
Knows files; what single names mean, each tool's module knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tunesmith.errors import InvalidInput
from tunesmith.other_tools import axolotl, llama_factory
from tunesmith.other_tools.rules import Translation
from tunesmith.spec.base import Notice
from tunesmith.spec.compat import trainer_block
from tunesmith.spec.problems import as_error
from tunesmith.yaml_text import load_yaml

_VARIABLE = "${"
_ENVELOPE = {"name": "name", "task_name": "name"} | {
    name: name for name in ("project", "priority", "tags", "notes")
}
"""What a file may say of the task besides its parameters."""


@dataclass(frozen=True)
class ConfigFile:
    """What a file says."""

    task: dict[str, Any] = field(default_factory=dict)
    """Its name, project, tags, ..."""
    parameters: dict[str, Any] = field(default_factory=dict)
    assumed: dict[str, Any] = field(default_factory=dict)
    """Defaults of the tool that the file is of; whatever else is given wins over them."""
    tool: str | None = None
    """The other tool that the file is of."""
    notices: tuple[Notice, ...] = ()


def read_config(file: Path) -> dict[str, Any]:
    """What stands in a YAML or JSON file.

    Raises:
        InvalidInput: It cannot be read, or is no mapping of names to values.
    """
    try:
        data = load_yaml(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"`{file}` cannot be read: {error}.", field="--config") from error
    except yaml.YAMLError as error:
        raise InvalidInput(f"`{file}` cannot be read as YAML or JSON: {error}.", field="--config") from error
    if not isinstance(data, dict):
        raise InvalidInput(
            f"`{file}` holds no parameters.", field="--config", hint="One a line, as `learning_rate: 0.0002`."
        )
    return {str(name): value for name, value in data.items()}


def read_file(file: Path) -> ConfigFile:
    """A training's file, of whichever tool.

    Raises:
        InvalidInput: It cannot be read, or says what would not mean the same here; with every problem.
    """
    return read_document(read_config(file), file.absolute().parent)


def read_document(document: Mapping[str, Any], folder: Path = Path()) -> ConfigFile:
    """As `read_file`, of what stood in a file that lies in a folder.

    Raises:
        InvalidInput: It says what would not mean the same here; with every problem.
    """
    reading: Translation | None = None
    if axolotl.is_one(document):
        reading = axolotl.read(document)
    elif llama_factory.is_one(document):
        reading = llama_factory.read(document, folder)
    if reading is None:
        task, parameters = task_and_parameters(document)
        return ConfigFile(task, parameters)
    if reading.problems:
        raise as_error(InvalidInput, reading.problems)
    task, parameters = task_and_parameters(reading.parameters)
    return ConfigFile(task, parameters, reading.assumed, reading.tool, tuple(reading.notices))


def task_and_parameters(document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a file says of the task (name, project, tags ...), and its parameters.

    The parameters stand by themselves, below `spec`, or in a model-compose file with one trainer.
    """
    if isinstance(document.get("spec"), Mapping):
        return {name: value for name, value in document.items() if name != "spec"}, dict(document["spec"])
    parameters = _without_variables(document, trainer_block(document))
    task = {_ENVELOPE[name]: parameters[name] for name in parameters if name in _ENVELOPE}
    return task, {name: value for name, value in parameters.items() if name not in _ENVELOPE}


def _without_variables(document: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A trainer of model-compose without what its workflow hands in; its rows, where one component loads them."""
    if parameters is document:
        return dict(parameters)
    handed = [name for name, value in parameters.items() if isinstance(value, str) and _VARIABLE in value]
    found = {name: value for name, value in parameters.items() if name not in handed}
    loaders = [
        item
        for item in document.get("components", [])
        if isinstance(item, Mapping) and item.get("type") == "datasets" and "method" not in item
    ]
    names = [name for name in handed if name in ("dataset", "train_file", "train_data", "training_file")]
    if names and len(loaders) == 1 and (source := _loaded(loaders[0])) is not None:
        found[names[0]] = source
    return found


def _loaded(component: Mapping[str, Any]) -> Any:
    """The source that a component of model-compose loads; None where it is more than one file or Hub name."""
    is_local = component.get("provider", component.get("driver")) == "local" or "path" not in component
    files = component.get("data_files") if is_local else component.get("path")
    if isinstance(files, list) and len(files) == 1:
        files = files[0]
    if not isinstance(files, str) or _VARIABLE in files or component.get("fraction", 1.0) not in (1, 1.0):
        return None
    if is_local:
        return files
    taken = {key: component[key] for key in ("name", "split", "revision") if component.get(key)}
    return {"path": f"hf://{files}", **taken} if taken else f"hf://{files}"
