"""What is given twice is refused wherever it is given: the last of two would count, and nobody would know."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunesmith.errors import InvalidInput
from tunesmith.model_folder import read_lora_file
from tunesmith.spec.pipeline_file import read_pipeline
from tunesmith.templates import from_yaml
from tunesmith.yaml_text import load_yaml

BASE = ["--model", "/m", "--train-file", "/t.jsonl"]


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (["train", *BASE, "--learning-rate", "1e-3", "--learning-rate", "1e-4"], "learning-rate"),
        (["train", *BASE, "--learning-rate", "1e-3", "--learning_rate=1e-3"], "learning-rate"),
        (["train", *BASE, "--lr", "1e-3", "--learning-rate", "1e-4"], "lr"),
        (["train", *BASE, "--use-lora", "--no-use-lora"], "use-lora"),
        (["train", *BASE, "--name", "a", "--name", "b"], "name"),
        (["estimate", *BASE, "--seed", "1", "--seed", "2"], "seed"),
        (["tasks", "create", "evaluate", "--name", "a", "--name", "b"], "name"),
        (["tasks", "create", "evaluate", "--set", "seed=1", "--set", "seed=2"], "seed"),
        (["data", "run", "filter", "/t.jsonl", "--set", "a=1", "--set", "a=2"], "a"),
        (["run", "FILE", "--input", "dataset=a", "--input", "dataset=b"], "dataset"),
        (["run", "FILE", "--set", "trainer.seed=1", "--set", "trainer.seed=2"], "trainer.seed"),
        (["train", "--config", "CONFIG"], "seed"),
    ],
)
def test_an_option_or_name_that_is_given_twice_is_refused(
    cli: Callable[..., Any], tmp_path: Path, args: list[str], name: str
) -> None:
    (tmp_path / "p.yml").write_text("component:\n  type: datasets\n  path: /t\n")
    (tmp_path / "c.yml").write_text("seed: 1\nmodel: /m\nseed: 2\n")
    files = {"FILE": str(tmp_path / "p.yml"), "CONFIG": str(tmp_path / "c.yml")}
    found = cli(*[files.get(word, word) for word in args])
    assert found.code in (1, 2), found
    assert name in found.err
    assert "twice" in found.err or "another name of" in found.err


def test_lists_and_switches_may_be_given_again(cli: Callable[..., Any]) -> None:
    found = cli("train", *BASE, "--tag", "a", "--tag", "b", "--json", "--json", "--epochs-of-nothing")
    assert "twice" not in found.err


@pytest.mark.parametrize(
    "text", ["a: 1\na: 2\n", "x:\n  a: 1\n  a: 1\n", "- {a: 1, a: 2}\n", "? a\n: 1\n? a\n: 2\n"]
)
def test_yaml_names_each_thing_once(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="`a` is given twice"):
        load_yaml(text)


def test_yaml_that_merges_is_no_repeat() -> None:
    assert load_yaml("base: &b {a: 1, c: 3}\nmade: {<<: *b, a: 2}\n")["made"] == {"a": 2, "c": 3}


def test_every_file_of_a_user_is_read_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="twice"):
        from_yaml("name: t\nparameters:\n  seed: 1\n  seed: 2\n")
    with pytest.raises(InvalidInput, match="twice"):
        read_pipeline("component:\n  type: datasets\n  path: /t\n  path: /u\n")
    (tmp_path / "lora.yaml").write_text("r: 8\nr: 9\n")
    with pytest.raises(InvalidInput, match="twice"):
        read_lora_file(tmp_path / "lora.yaml")
