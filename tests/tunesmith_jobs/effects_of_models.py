"""What shows of a parameter of the kinds that use a model or rows, for `test_parameter_effects`. No test itself."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import effects_of_results as results
import pytest
from effects_of_training import Seen
from effects_place import NODES, Place, Shows, filled
from fake_plane import make_document

from tunesmith.job import AttemptDocument
from tunesmith.model_step import ModelDocument
from tunesmith.spec.dataset import read_operation
from tunesmith.spec.generate import GenerateSpec
from tunesmith_jobs.cluster import resources_of
from tunesmith_jobs.model_work import Work
from tunesmith_jobs.outlet import Silent
from tunesmith_jobs.package.files import orders


def generation(place: Place, spec: GenerateSpec) -> Work:
    """An attempt that answers with the tiny model."""
    out = place.folder / f"answers-{len(list(place.folder.glob('answers-*')))}"
    out.mkdir()
    training = spec.as_training({}, base=str(place.model), adapter=None, data="-")
    values = make_document(out, "").model_dump(mode="json", include=set(AttemptDocument.model_fields))
    document = ModelDocument.model_validate(values | {
        "kind": "generate", "spec": spec.model_dump(mode="json"), "model_uri": str(place.model),
        "training": training.model_dump(mode="json"), "encoder_path": str(place.model), "data_path": spec.dataset,
        "rows_dir": str(out / "task-1" / "rows"),
    })  # fmt: skip
    return Work(document, Silent(), out / "scratch")


def asked(spec: GenerateSpec, place: Place) -> list[str]:
    """What the model is asked first."""
    from tunesmith_jobs.generate import answering

    first = next(answering._talks(generation(place, spec), spec))
    return [f"{turn.role}: {turn.content}" for turn in first.left]


def answered(look: Callable[[list[Any]], Any]) -> Shows:
    """The answers that are made, as they are written."""

    def shows(spec: Any, place: Place) -> Any:
        from tunesmith_jobs.generate import answering

        work = generation(place, spec)
        assert answering.generate(work, spec).reason == "completed"
        assert work.document.rows_dir is not None
        file = Path(work.document.rows_dir) / "data.jsonl"
        return look([json.loads(line) for line in file.read_text().splitlines()])

    return shows


def drawn(name: str) -> Shows:
    """How the library is told to draw tokens, and how many conversations it is given at once."""

    def shows(spec: Any, place: Place) -> Any:
        from tunesmith_jobs.generate import answering

        told: list[Any] = []

        def answer(self: Any, talks: Any) -> None:
            told.append(len(talks) if name == "at once" else getattr(self._settings, name))
            raise Seen

        place.patch.setattr(answering.Answerer, "answer", answer)
        with pytest.raises(Seen):
            answering.generate(generation(place, spec), spec)
        return told[0]

    return shows


def as_training(name: str) -> Shows:
    """The training that loads the model and writes its rows."""
    return lambda spec, place: getattr(
        spec.as_training({}, base=str(place.model), adapter=None, data="-"), name
    )


def engine_of(name: str) -> Shows:
    """What the engine of a served model is made with, where two processors are reserved."""

    def shows(spec: Any, place: Place) -> Any:
        from attempts import chat_document

        from tunesmith_serve.replica import engine_settings

        document = chat_document(place.folder).model_copy(update={"spec": spec.model_dump(mode="json")})
        return getattr(engine_settings(document, 2.0, False, place.folder / "engine"), name)

    return shows


def deployed(look: Callable[[dict[str, Any]], Any]) -> Shows:
    """How Ray Serve is told to run a served model."""

    def shows(spec: Any, place: Place) -> Any:
        from tunesmith_serve.application import deployment_options
        from tunesmith_serve.program import reserved

        training = spec.as_training({}, base=str(place.model), adapter=None, data="-")
        needs = reserved(spec, training, use_gpu=True)
        return look(deployment_options(spec, resources_of(needs, False, NODES)))

    return shows


def made_rows(spec: Any, place: Place) -> dict[str, int]:
    """How many rows an operation on data leaves in each of its files."""
    from tunesmith_jobs.data.meter import Meter
    from tunesmith_jobs.data.operations import run

    folder = place.folder / f"rows-{len(list(place.folder.glob('rows-*')))}"
    parameters = {name: filled(value, place.folder) for name, value in spec.parameters.items()}
    operation = read_operation(spec.operation, parameters)
    made = run(operation, folder / "task-1" / "rows", Meter(lambda *_: None), "task-1")
    return {name: one.rows for name, one in made.items()}


def packed(spec: Any, _: Place) -> list[str]:
    """The GGUF files that a package of an adapter has."""
    found = orders(spec, "m", 4, is_adapter=True)
    return [one.name + " with the adapter" * one.with_adapter for one in found]


def of_whole_model(spec: Any, place: Place) -> int | None:
    """The bytes that the files of a whole model's package are split by; what only an adapter has is refused."""
    return results.writing(spec, place.folder, place.model)._split_bytes


def uploaded(name: str) -> Shows:
    """What a hub is told of an upload."""
    return lambda spec, place: results.uploaded(spec, place.folder)[name]


def pulled(name: str) -> Shows:
    """What a hub is asked for by a pull."""
    return lambda spec, _: results.pulled(spec)[name]
