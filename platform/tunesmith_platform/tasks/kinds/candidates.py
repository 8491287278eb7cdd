"""Which models an evaluation compares: each found, with its base as the reference, and what its training was.

Knows the finder of models; knows nothing of samples.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from tunesmith.artifacts import checkpoint_name
from tunesmith.errors import InvalidInput, InvalidModel
from tunesmith.evaluation.document import CandidateDocument
from tunesmith.evaluation.results import Candidate
from tunesmith.spec.base import Notice
from tunesmith.spec.candidates import ALL, FINAL, Chosen, parse
from tunesmith.spec.evaluation import MAX_CANDIDATES, EvaluateSpec
from tunesmith.spec.model_task import ModelUseSpec
from tunesmith_platform.sandbox.error_fields import at
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks.kinds.resolve_model import Finder, FoundModel

BASE = "base"
"""The key of the reference."""
_FIELD = "checkpoints"


@dataclass(frozen=True)
class Entrant:
    """A candidate that was found.

    Attributes:
        key: What tells it from the others: `base`, `TASK/checkpoint-40`, a folder.
        label: What people read.
        found: The model.
        words: How it is named to be found again.
    """

    key: str
    label: str
    found: FoundModel
    words: str = ""

    @property
    def step(self) -> int:
        """The step that its weights are of."""
        return self.found.step


def find(
    finder: Finder, scope: Scope, spec: EvaluateSpec, notices: list[Notice] | None = None
) -> list[Entrant]:
    """The models that are compared, in the order in which they are named, a task's by their steps; each once.

    Args:
        finder: Finds models.
        scope: Whose.
        spec: Names them.
        notices: Takes a notice of each checkpoint among `all` that its training has just removed.

    Raises:
        InvalidInput: One is not there, or they are too many.
    """
    found: dict[str, Entrant] = {}
    for chosen in spec.candidates:
        if chosen.task_id is None and chosen.is_of_a_task:
            chosen = parse(f"{_task_of(finder, scope, spec)}:{chosen.said.strip()}", None)  # noqa: PLW2901
        with at(
            _FIELD if spec.checkpoints else "model_name_or_path" if chosen.task_id is None else "task_id"
        ):
            for entrant in _of(finder, scope, spec, chosen, notices if notices is not None else []):
                found.setdefault(entrant.key, entrant)
    _call_the_base_by_its_name(found)
    if len(found) > MAX_CANDIDATES:
        raise InvalidInput(
            f"{len(found)} models are more than the {MAX_CANDIDATES} that can be compared at once.",
            hint="Name the steps.",
            field=_FIELD,
        )
    return list(found.values())


def _task_of(finder: Finder, scope: Scope, spec: EvaluateSpec) -> str:
    """The task whose model is named, as a pipeline's step hands it on: its checkpoints are meant.

    Raises:
        InvalidInput: No task made it.
    """
    given: dict[str, str] = {"device": spec.device, "model_name_or_path": str(spec.model_name_or_path)}
    with at("model_name_or_path"):
        made_by = finder.find(scope, ModelUseSpec.read(given)).origin.task_id
    if made_by is None:
        with at(_FIELD):
            raise InvalidInput(
                f"`{spec.model_name_or_path}` is the model of no task here: it has no checkpoints.",
                hint="Name a training: `task_id`, or `TASK:40`.",
            )
    return made_by


def _call_the_base_by_its_name(found: dict[str, Entrant]) -> None:
    """A folder or a name that is the others' base is the reference, and no candidate of another base."""
    bases = {str(one.found.started_from) for one in found.values() if one.found.started_from is not None}
    for key, one in list(found.items()):
        if len(bases) == 1 and one.found.started_from is None and one.found.uri in bases:
            found[key] = replace(one, key=BASE, label=f"{one.label} (base)")


def _of(
    finder: Finder, scope: Scope, spec: EvaluateSpec, chosen: Chosen, notices: list[Notice]
) -> list[Entrant]:
    device: dict[str, str] = {"device": spec.device}
    if chosen.task_id is None:
        use = ModelUseSpec.read(
            device
            | {"model_name_or_path": chosen.which}
            | ({"base_model_path": spec.base_model_path} if spec.base_model_path else {})
        )
        model = finder.find(scope, use)
        return [Entrant(chosen.which, Path(chosen.which).name or chosen.which, model, chosen.which)]
    steps, has_final = finder.steps_of(scope, chosen.task_id)
    name = finder.name_of(scope, chosen.task_id)
    wanted: list[int | None] = [chosen.step]
    if chosen.which == ALL:
        # The final model of a task is what its best or newest checkpoint holds: it would be scored twice.
        wanted = list(steps) or [None]
    elif chosen.which == FINAL and not has_final:
        raise InvalidInput(
            f"Task `{name}` has no final model yet.",
            hint="Name a checkpoint's step, or `all`.",
            field=_FIELD,
        )
    entrants = []
    gone: InvalidModel | None = None
    for step in wanted:
        use = ModelUseSpec.read(
            device
            | {"task_id": chosen.task_id}
            | ({"checkpoint": step} if step is not None else {})
            | ({"base_model_path": spec.base_model_path} if spec.base_model_path else {})
        )
        what = FINAL if step is None else checkpoint_name(step)
        words = f"{chosen.task_id}:{FINAL if step is None else step}"
        try:
            found = finder.find(scope, use)
        except InvalidModel as error:
            # A training that goes on removes checkpoints, and is heard of it a moment later.
            if chosen.which != ALL:
                raise
            notices.append(Notice(field=_FIELD, message=f"Left out: {error.message}"))
            gone = error
            continue
        entrants.append(Entrant(f"{chosen.task_id}/{what}", f"{name} {what}", found, words))
    if gone is not None and not entrants:
        raise gone
    return entrants


def base_of(entrants: list[Entrant], notices: list[Notice]) -> Entrant | None:
    """The base that all were trained from; None, and a notice, where there is not one."""
    if any(entrant.key == BASE for entrant in entrants):
        return None
    bases = {str(entrant.found.started_from or "") for entrant in entrants}
    first = entrants[0].found
    if all(are_sorting(entrants)):
        message = "A base model knows no classes: what a head made anew says of them is no reference."
        notices.append(Notice(field="include_base", message=message))
        return None
    if len(bases) > 1 or first.started_from is None:
        message = (
            "The candidates come from several base models: none is the reference of all."
            if len(bases) > 1
            else "Which model it was trained from is not known: it is compared with no base."
        )
        notices.append(Notice(field="include_base", message=message))
        return None
    base = first.started_from
    found = first.model_copy(
        update={
            "uri": str(base), "base": None, "encoder": base, "step": 0, "classes": [],
            "tokenizer": first.tokenizer, "train_path": None,
        }
    )  # fmt: skip
    return Entrant(BASE, f"{base.name} (base)", found)


def are_sorting(entrants: list[Entrant]) -> list[bool]:
    """Of each whether it sorts texts into classes, by how it was trained."""
    return [entrant.found.trained.get("training_type") == "classification" for entrant in entrants]


def documents(entrants: list[Entrant], spec: EvaluateSpec, data: str) -> list[CandidateDocument]:
    """What the job is handed of each.

    Raises:
        InvalidInput: Some sort texts into classes, and others do not.
    """
    made: list[CandidateDocument] = []
    sorting: list[bool] = []
    for entrant in entrants:
        found = entrant.found
        adapter = found.uri if found.base is not None else None
        training = spec.as_training(
            found.trained, base=str(found.base or found.uri), adapter=adapter, data=data
        )
        sorting.append(training.training_type == "classification")
        made.append(
            CandidateDocument(
                candidate=Candidate(
                    key=entrant.key,
                    label=entrant.label,
                    task_id=found.origin.task_id if entrant.key != BASE else None,
                    step=found.step,
                    uri=found.uri,
                    is_base=entrant.key == BASE,
                ),
                training=training.model_dump(mode="json"),
                encoder_path=str(found.encoder),
                tokenizer_path=str(found.tokenizer) if found.tokenizer else None,
                classes=found.classes if sorting[-1] else [],
                base_path=str(found.base or found.uri),
                train_path=found.train_path,
            )
        )
    if any(sorting) and not all(sorting):
        one, other = entrants[sorting.index(True)], entrants[sorting.index(False)]
        raise InvalidInput(
            f"`{one.label}` sorts texts into classes, and `{other.label}` answers them: they cannot be compared.",
            hint="Compare classifiers with classifiers.",
            field=_FIELD,
        )
    return made
