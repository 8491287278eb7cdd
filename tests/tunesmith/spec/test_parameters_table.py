"""Every training row of the design's table of parameters is declared as the table says."""

import csv
from pathlib import Path

import pytest

from tunesmith.schema import ParameterRow, rows
from tunesmith.spec.compat import FOREIGN
from tunesmith.spec.task import NewTrainTask
from tunesmith.spec.training import TrainSpec

TABLE = Path(__file__).resolve().parents[2] / "data" / "parameters.csv"
"""Written by hand, from what forms of today's tools offer and how they spell it; the code is held to it."""
PARAMETERS = {row.name: row for row in rows(TrainSpec)}
SPELLINGS = {spelling: row for row in PARAMETERS.values() for spelling in (row.name, *row.about.aliases)}
OF_THE_TASK = {"task_name": "name", "template_id": "template", "temporary_template": "template"}
"""Rows that belong to the task, not to its spec. Values given beside a template are for the one task always."""
BESIDES = {
    "lr_scheduler_kwargs.num_cycles": "num_cycles",
    "lr_scheduler_kwargs.min_lr": "min_lr",
}
OTHER_LABELS = {"early_stopping_patience": "早停耐心（评估次数）"}  # C19
OTHER_BOUNDS = {
    "eval_sampling_ratio": (0, 0.5),  # C33: a form offers half at most
    "warmup_ratio": (0, 0.99),  # C10
    "lora_dropout": (0, None),  # 1 would zero the LoRA
    "num_workers": (1, 1024),  # 0 is Ray's local mode: no restarts, no upload
    "save_interval_minutes": (0, 1440),  # C40: 0 turns it off
}


def table() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


ROWS = table()


def declared(row: dict[str, str]) -> ParameterRow | None:
    name = row["name"]
    return None if name in OF_THE_TASK else PARAMETERS[BESIDES.get(name, name)]


def words(cell: str) -> list[str]:
    return [word for word in cell.split("|") if word]


def test_no_row_is_missing() -> None:
    assert len(ROWS) == 79
    for row in ROWS:
        if row["name"] in OF_THE_TASK:
            assert OF_THE_TASK[row["name"]] in NewTrainTask.model_fields
        else:
            assert declared(row) is not None


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_a_row_is_declared_as_the_table_says(row: dict[str, str]) -> None:
    found = declared(row)
    if found is None:
        return
    about = found.about
    assert about.label_en == row["label_en"]
    assert about.label_zh == OTHER_LABELS.get(found.name, row["label_zh"])
    assert about.group.value == row["group"]
    if found.name != "output_dir":  # the platform has a storage of its own, so it is optional
        assert about.fold.value == row["fold"]
    low, high = OTHER_BOUNDS.get(
        found.name, (float(row["min"]) if row["min"] else None, float(row["max"]) if row["max"] else None)
    )
    offered = (
        about.ui_min if about.ui_min is not None else found.ge,
        about.ui_max if about.ui_max is not None else found.le,
    )
    if row["min"]:
        assert offered[0] == low
    if row["max"]:
        assert offered[1] == high
    if row["step"]:
        assert about.step == float(row["step"])
    if row["type"] in ("select", "multiselect") and found.choices is not None:
        known = {*found.choices, *about.refused_values}
        assert set(words(row["choices"])) - known == set()


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_other_spellings_are_understood(row: dict[str, str]) -> None:
    found = declared(row)
    if found is None:
        return
    for spelling in words(row["aliases"]):
        assert spelling in SPELLINGS or spelling in FOREIGN, spelling


def test_the_form_never_offers_what_is_refused() -> None:
    for row in PARAMETERS.values():
        low, high = row.about.ui_min, row.about.ui_max
        assert low is None or row.ge is None or low >= row.ge, row.name
        assert high is None or row.le is None or high <= row.le, row.name
