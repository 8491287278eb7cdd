"""What a user gives a training: a file of whichever tool, options over it, and data sets that have to be made first.

Remembers which of them said what, so that it can be shown. Knows files and options; what a value may be, the spec
knows, and what is there, the server.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunesmith.cli.train import FILES, absolute, read_flag
from tunesmith.client import Client
from tunesmith.errors import InvalidInput
from tunesmith.other_tools.reading import ConfigFile, read_file
from tunesmith.other_tools.sources import Source, is_plain, read_sources
from tunesmith.spec.base import Notice
from tunesmith.spec.training import TrainSpec

_STAND_IN = "rows-to-be-made"


@dataclass(frozen=True)
class GivenTraining:
    """Everything that was given, put together."""

    task: dict[str, Any]
    """Name, project, tags, ... of the file."""
    parameters: dict[str, Any]
    """With absolute paths; where data sets have to be made first, something stands in for them."""
    sources: dict[str, list[Source]] = field(default_factory=dict)
    """Per parameter: what its rows are made of, where that is more than one file or lies on the Hub."""
    layers: tuple[tuple[str, dict[str, Any]], ...] = ()
    """Who said what, under our names; a later one wins."""
    notices: tuple[Notice, ...] = ()

    def ready(self, client: Client, *, shows: bool | None = None) -> dict[str, Any]:
        """The parameters once all is there that they name: a model of the Hub pulled, rows loaded from it, and mixed.

        Args:
            client: The platform.
            shows: Whether to show how far it is; by default on a terminal.

        Raises:
            InvalidInput: Something cannot be fetched, or several data sets cannot be mixed.
        """
        from tunesmith.cli.hub_model import bring_model
        from tunesmith.cli.sources import made  # pulls in what watches tasks

        found = dict(self.parameters)
        model = TrainSpec.meant(found).get("model_name_or_path")
        if isinstance(model, str):
            bring_model(client, model)
        for name, sources in self.sources.items():
            seed = TrainSpec.meant(found).get("seed", 42)
            found[name] = made(client, sources, name, seed=int(seed), shows=shows)
        return found


def given_training(
    file: Path | None, config: Path | None, flags: Mapping[str, Any], template: str | None = None
) -> GivenTraining:
    """What a file and the flags over it say.

    Args:
        file: A file that stands alone on the command line.
        config: The file of `--config`.
        flags: Options by the spelling that was used.
        template: A template that lies under both; what another tool would assume is left to it then.

    Raises:
        InvalidInput: The file or a flag cannot be read, or would not mean the same here.
    """
    if file is not None and config is not None:
        raise InvalidInput("A file is given twice.", field="--config", hint=f"Give `{file}` or `{config}`.")
    path = file or config
    found = read_file(path) if path else ConfigFile()
    given = {name: read_flag(name, value) for name, value in flags.items() if value not in (None, [])}
    if "model" in given and "model_name_or_path" not in given:
        given["model_name_or_path"] = given.pop("model")  # the option's own name: nothing is to be said of it
    return put_together(found, given, str(path) if path else "", template)


def put_together(
    found: ConfigFile, given: Mapping[str, Any], file: str = "", template: str | None = None
) -> GivenTraining:
    """As `given_training`, of what was read already."""
    assumed = {} if template else _assumed(found, given)
    under = TrainSpec.merged(assumed, found.parameters)
    parameters, sources = _sources(TrainSpec.merged(under, given))
    layers = [
        (f"default of {found.tool}", assumed),
        (f"file {file}".strip(), found.parameters),
        ("option", given),
    ]
    return GivenTraining(
        found.task,
        absolute(parameters),
        sources,
        tuple((who, TrainSpec.meant(said)) for who, said in layers if said),
        found.notices,
    )


def _assumed(found: ConfigFile, given: Mapping[str, Any]) -> dict[str, Any]:
    """The other tool's defaults; one that follows from another follows from an option too."""
    assumed = dict(found.assumed)
    rank = TrainSpec.meant(given).get("r")
    if "lora_alpha" in assumed and rank is not None and str(rank).isdigit():
        assumed["lora_alpha"] = 2 * int(rank)
    return assumed


def _sources(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[Source]]]:
    """The parameters with a stand-in for rows that have to be made, and what those are made of."""
    found, sources = dict(parameters), dict[str, list[Source]]()
    for spelling in parameters:
        meant = next(iter(TrainSpec.meant({spelling: parameters[spelling]})), spelling)
        if meant not in FILES or parameters[spelling] is None:
            continue
        read = read_sources(parameters[spelling], meant)
        if is_plain(read):
            found[spelling] = read[0].path
            continue
        del found[spelling]
        found[meant] = _STAND_IN
        sources[meant] = [_absolute(source) for source in read]
    return found, sources


def _absolute(source: Source) -> Source:
    if source.is_hub:
        return source
    return replace(source, path=str(absolute({"train_file": source.path})["train_file"]))


Follow = Callable[[str], None]


def words_of(sources: Sequence[Source]) -> str:
    """Several sources as they would be written."""
    return " + ".join(map(str, sources))
