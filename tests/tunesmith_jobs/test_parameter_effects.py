"""What changes when a parameter's value changes: one case for each parameter of each kind, against the real code.

Most look at what is built (the library's arguments, the adapter, the encoded rows, what is due after a step), not at a
run. A parameter with no case fails, unless it stands in `NOT_YET`; that list only becomes shorter.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from effects_cases import CASES, GIVEN, OF_KINDS, REFUSED
from effects_place import ROWS, TEMPLATE, Case, Place, filled, given
from training_run import write_lines

from tunesmith.errors import InvalidInput
from tunesmith.spec.kinds import kind_of, kinds
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.models import adapters, build


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, model: Path) -> tuple[Path, Path]:
    """Rows of every shape beside each other, adapters of the tiny model, another tokenizer's folder."""
    folder = tmp_path_factory.mktemp("files")
    talks = [
        {
            "messages": [
                {"role": "user", "content": f"What is {i} plus {i}?"},
                {"role": "assistant", "content": f"It is {i + i}, of course."},
            ],
            "text": f"{i} and {i} are {i + i}. " * 3,
            "other": "Something else.",
            "question": f"How many are {i}?",
            "reply": f"Exactly {i}.",
            "rules": "Be brief.",
            "label": "odd" if i % 2 else "even",
            "half": "low" if i < ROWS // 2 else "high",
        }
        for i in range(ROWS)
    ]
    write_lines(folder / "talks.jsonl", talks)
    plain = [{name: value for name, value in row.items() if name != "messages"} for row in talks]
    write_lines(folder / "plain.jsonl", plain)
    write_lines(folder / "bad.jsonl", [*talks, {"messages": "none"}])
    (folder / "lora.json").write_text(json.dumps({"r": 3, "target_modules": ["q_proj"]}))
    (folder / "zero.json").write_text(json.dumps({"zero_optimization": {"stage": 1}}))
    base = build.load_base(model, None, {})
    for name, rank in (("first", 2), ("second", 5)):
        spec = TrainSpec.read(given(folder, model) | {"r": rank})
        adapters.add_lora(base, spec, adapters.linear_names(base)).save_pretrained(folder / name)
        base = build.load_base(model, None, {})
    shutil.copytree(model, folder / "tokenizer")
    (folder / "tokenizer" / "chat_template.jinja").write_text(TEMPLATE)
    return folder, model


@pytest.fixture
def place(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    return Place(*files, monkeypatch)


_OF_FOUND = frozenset({"model_name_or_path", "task_id", "checkpoint", "base_model_path", "max_restarts"})
NOT_YET: dict[str, frozenset[str]] = {
    "train": frozenset(),
    "evaluate": frozenset(kind_of("evaluate").spec.model_fields),
    "generate": _OF_FOUND,
    "package": _OF_FOUND | {"output_dir"},
    "dataset": frozenset({"into"}),
    "chat": _OF_FOUND,
    "prove": _OF_FOUND,
    "upload": frozenset({"task_id", "max_restarts"}),
    "pull": frozenset({"max_restarts"}),
}


def seen(kind: str, case: Case, place: Place, more: dict[str, Any]) -> Any:
    """What shows; a refusal is its class."""
    plain = given(place.folder, place.model) if kind == "train" else GIVEN[kind]
    values = plain | case.given | more
    spec = {name: filled(value, place.folder) for name, value in values.items() if value is not None}
    if spec.get("model_name_or_path") == "{model}":
        spec["model_name_or_path"] = str(place.model)
    try:
        return case.shows(kind_of(kind).spec.read(spec), place)
    except InvalidInput:
        return REFUSED


ALL = {"train": CASES} | OF_KINDS


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, cases in ALL.items() for name in cases])
def test_a_parameter_does_what_its_case_says(kind: str, name: str, place: Place) -> None:
    case = ALL[kind][name]
    before, after = seen(kind, case, place, {}), seen(kind, case, place, {name: case.value})
    assert before != after
    for found, said in ((before, case.before), (after, case.after)):
        if said is ...:
            assert found is not REFUSED, "what is to be seen is not that it is refused"
        else:
            assert found == said


def test_no_parameter_is_without_a_case() -> None:
    for kind, declared in kinds().items():
        cases = set(ALL.get(kind, {}))
        named = set(declared.spec.model_fields)
        assert cases | NOT_YET[kind] == named, kind
        assert not cases & NOT_YET[kind], "what is proven leaves the list"


def test_what_is_not_yet_proven_only_becomes_less() -> None:
    """To be lowered with each case that comes; never raised. How a model is found counts for each kind that does."""
    found = sum(len(names & _OF_FOUND) for names in NOT_YET.values())
    assert sum(map(len, NOT_YET.values())) <= 2 + found + len(NOT_YET["evaluate"] - _OF_FOUND)
