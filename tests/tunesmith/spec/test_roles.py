"""Roles of parameters: each says them, one that does not is on the safe side, and no list of names is kept."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tunesmith.cli.parameters import Language, details_of
from tunesmith.schema import form_schema, rows
from tunesmith.spec.base import Spec
from tunesmith.spec.evaluation import EvaluateSpec
from tunesmith.spec.generate import GenerateSpec
from tunesmith.spec.model_task import AS_TRAINED
from tunesmith.spec.package import PackageSpec
from tunesmith.spec.parameter import Group, about, names_with, param
from tunesmith.spec.roles import Role
from tunesmith.spec.training import TrainSpec

ROOT = Path(__file__).resolve().parents[3]
SPECS = (TrainSpec, EvaluateSpec, GenerateSpec, PackageSpec)
COLUMNS = {"text_column", "prompt_column", "response_column", "system_column", "label_column"}
ENCODED_BY = {"training_type", *COLUMNS, "chat_template", "assistant_only_loss", "allowed_bad_percent"}


class Forgetful(TrainSpec):
    """A training with a parameter of which nobody said what it does."""

    new_folder: str | None = param(
        None, label=("New", "新"), help=("New.", "新。"), group=Group.DATA, path="always"
    )


class Chosen(Spec):
    """A parameter with all that may be said of one."""

    speed: Literal["slow", "fast"] = param(
        "slow",
        label=("Speed", "速度"),
        help=("How fast.", "多快。"),
        group=Group.BASIC,
        choice_help={"slow": ("Takes its time.", "较慢。"), "fast": ("Hurries.", "较快。")},
        advice=[("Under 1 000 rows: `slow`.", "少于 1 000 行：slow。")],
        roles={Role.NO_STEP_COST},
    )


class Misnamed(Spec):
    """Explains a choice that it does not have."""

    speed: Literal["slow"] = param(
        "slow",
        label=("Speed", "速度"),
        help=("How fast.", "多快。"),
        group=Group.BASIC,
        choice_help={"fast": ("Hurries.", "较快。")},
    )


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.__name__)
def test_every_parameter_says_its_roles(spec: type[Spec]) -> None:
    """`roles=()` where it has none: who thought of no cache must not pass as one who looked at all of them."""
    assert [name for name, info in spec.model_fields.items() if about(info).roles is None] == []


def test_a_parameter_without_roles_is_part_of_every_key_and_left_out_of_nothing() -> None:
    has = {role for role in Role if "new_folder" in names_with(Forgetful, role)}
    assert has == {Role.TEXT}


def test_what_belongs_together_by_role() -> None:
    """By name, so that a change of a role is seen: evaluations, templates and new stages follow these."""
    assert set(AS_TRAINED) == ENCODED_BY | {
        "max_length", "packing", "seed", "precision", "bf16", "fp16", "tf32", "attn_implementation", "load_in_4bit",
        "load_in_8bit", "bnb_4bit_quant_type", "bnb_4bit_compute_dtype", "bnb_4bit_use_double_quant",
    }  # fmt: skip
    assert set(names_with(TrainSpec, Role.QUANTIZES)) == {"load_in_4bit", "load_in_8bit"}
    started_from = {"resume_from_checkpoint", "attach_lora", "attach_lora_path"}
    inputs = {
        "model_name_or_path", "tokenizer_name_or_path", "train_file", "eval_file", "evaluation_sample_file",
    }  # fmt: skip
    assert set(names_with(TrainSpec, Role.PLACE)) == inputs | started_from | {"output_dir"}
    assert set(names_with(TrainSpec, Role.ONE_TASK)) == {*started_from, "peft_config_path", "output_dir"}


def test_names_come_role_by_role_in_the_order_of_their_declaration() -> None:
    """Files are named by hashes over names in this order."""
    assert names_with(TrainSpec, Role.LENGTH, Role.ROWS, Role.TOKENIZER) == (
        "max_length", "allowed_bad_percent", "tokenizer_name_or_path",
    )  # fmt: skip
    assert names_with(TrainSpec, Role.QUANTIZES, Role.NUMERICS)[:2] == ("load_in_4bit", "load_in_8bit")


# --- roles and the code that reads parameters


def read_of_specs(*files: Path) -> set[str]:
    """The parameters of a training that files read of anything called `spec`."""
    return {
        node.attr
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in TrainSpec.model_fields
        if (getattr(node.value, "id", None) or getattr(node.value, "attr", None)) == "spec"
    }


def test_what_encodes_rows_reads_only_parameters_that_say_so() -> None:
    """Else tokens of another setting would be taken from the cache."""
    files = [*(ROOT / "platform/tunesmith/rows").rglob("*.py")]
    for name in ("batches/rows.py", "batches/encoded.py", "batches/tokenize.py"):
        (file,) = (ROOT / "jobs/tunesmith_jobs").rglob(name)
        files.append(file)
    read = read_of_specs(*files)
    assert {"training_type", "max_length", "chat_template", "allowed_bad_percent"} <= read
    drawn = {"seed"}  # by which rows are drawn, where not all are taken: a part of the key by itself
    assert read - drawn <= set(names_with(TrainSpec, Role.TEXT, Role.ROWS, Role.LENGTH, Role.TOKENIZER))


def test_what_a_step_costs_is_computed_of_parameters_that_may_cost() -> None:
    """Else a measurement would stand for a setting that was not measured."""
    read = read_of_specs(ROOT / "platform/tunesmith_platform/estimates/shapes.py")
    assert {"r", "gradient_checkpointing", "deepspeed_stage"} <= read
    assert read.isdisjoint(names_with(TrainSpec, Role.NO_STEP_COST))


KEPT = {
    "jobs/tunesmith_jobs/train/checkpoint/importing.py": "names of the library's state, which are not our parameters",
    "jobs/tunesmith_jobs/train/telemetry/narration.py": "which parameters a log's first lines name",
    "platform/tunesmith/rows/shapes.py": "which columns a training type heeds",
    "platform/tunesmith_platform/datasets/reports.py": "what a question about data has fields of its own for",
}
"""Lists of parameters that say something no role says."""


def lists_of_names(file: Path) -> Iterator[int]:
    """The lines where a list, tuple or set holds the names of three parameters or more."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            names = [entry.value for entry in node.elts if isinstance(entry, ast.Constant)]
            if len(set(names) & set(TrainSpec.model_fields)) >= 3:
                yield node.lineno


def test_no_list_of_parameters_is_kept_far_from_their_declaration() -> None:
    """Whoever adds a parameter would have to know of it."""
    sources = [
        file
        for part in ("platform/tunesmith", "platform/tunesmith_platform", "jobs", "serve")
        for file in (ROOT / part).rglob("*.py")
        if not file.is_relative_to(ROOT / "platform/tunesmith/spec/groups")
        and file.name not in ("compat.py", "conflicts.py")  # of spellings, and of what excludes what
    ]
    assert len(sources) > 100
    found = {str(file.relative_to(ROOT)) for file in sources if any(lists_of_names(file))}
    assert found == set(KEPT)


# --- what may be said of choices


def strange_choices(spec: type[Spec]) -> list[str]:
    return [row.name for row in rows(spec) if not set(row.about.choice_help) <= set(row.choices or ())]


def test_only_choices_that_there_are_are_explained() -> None:
    assert strange_choices(Misnamed) == ["speed"]
    assert [strange_choices(spec) for spec in (*SPECS, Chosen)] == [[]] * 5


def test_a_sentence_of_each_choice_and_advice_are_served_in_both_languages() -> None:
    served = form_schema(Chosen)["properties"]["speed"]["tunesmith"]
    assert served["choice_help"]["fast"] == {"en": "Hurries.", "zh": "较快。"}
    assert served["advice"] == [{"en": "Under 1 000 rows: `slow`.", "zh": "少于 1 000 行：slow。"}]
    (row,) = rows(Chosen)
    assert details_of(row, Language.EN) == [
        "`slow`: Takes its time.", "`fast`: Hurries.", "Under 1 000 rows: `slow`.",
    ]  # fmt: skip
    assert details_of(row, Language.ZH)[-1] == "少于 1 000 行：slow。"


def test_what_is_not_said_is_not_served_and_roles_never_are() -> None:
    """Roles are how we are built; a client that read them would hold us to it."""
    for spec, names in ((TrainSpec, {"choice_help", "advice", "roles"}), (Chosen, {"roles"})):
        for drawn in form_schema(spec)["properties"].values():
            assert not names & set(drawn["tunesmith"])
