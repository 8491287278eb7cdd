"""What says how tokens are drawn is declared once, whichever kind draws them."""

import re
from pathlib import Path

import pytest

from tunesmith.schema import rows
from tunesmith.spec import sampling
from tunesmith.spec.chat import ChatSettings
from tunesmith.spec.evaluation import EvaluateSpec
from tunesmith.spec.generate import GenerateSpec

SPECS = {"evaluate": EvaluateSpec, "generate": GenerateSpec, "chat": ChatSettings}
FOLDER = Path(sampling.__file__).parent


@pytest.mark.parametrize("name", sampling._DECLARED)
def test_a_parameter_is_called_the_same_everywhere_and_takes_no_more_than_declared(name: str) -> None:
    declared = sampling._DECLARED[name]
    found = [row for spec in SPECS.values() for row in rows(spec) if row.name == name]
    assert found
    for row in found:
        assert (row.about.label_en, row.about.label_zh) == declared["label"]
        assert row.about.step in (declared.get("step"), 1)
        low = row.ge if row.ge is not None else row.gt
        assert low == declared.get("ge", declared.get("gt"))
        if name not in ("max_new_tokens", "seed"):  # what a chat takes there is OpenAI's
            assert row.le is not None
            assert row.le <= declared["le"]


def test_no_kind_declares_one_by_itself() -> None:
    for file in FOLDER.rglob("*.py"):
        text = file.read_text()
        if "class " not in text or file.name in ("sampling.py", "general.py", "reporting.py"):
            continue  # a training's own seed is another thing
        for name in sampling._DECLARED:
            assert not re.search(rf"^    {name}: [^\n]*= param\(", text, re.MULTILINE), f"{file.name}: {name}"
