"""What "did you mean" names is what was meant: a word that only looks alike is never named."""

import pytest

from tunesmith.cli.train import _CANONICAL
from tunesmith.spec.compat import FOREIGN
from tunesmith.spec.problems import did_you_mean

NAMES = sorted({*_CANONICAL, *FOREIGN})


def meaning(name: str) -> str:
    return _CANONICAL.get(name, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_were_not_known_would_lead_to_nothing_else(name: str) -> None:
    """Each spelling is a word with a meaning: left out of what is known, it may lead only to its own parameter."""
    meant = did_you_mean(name, [other for other in NAMES if other != name])
    assert meant is None or meaning(meant) == meaning(name)


def slips(name: str) -> list[str]:
    """A name with a letter swapped, missing or doubled, behind the first of a part, and with other separators."""
    found = [name.replace("_", "-"), name.upper()]
    for i in range(1, len(name) - 1):
        if name[i - 1] != "_" and name[i].isalpha() and name[i + 1].isalpha():
            found += [name[:i] + name[i + 1] + name[i] + name[i + 2 :], name[:i] + name[i] + name[i:]]
    return found


@pytest.mark.parametrize("name", [name for name in sorted(set(_CANONICAL.values())) if len(name) > 6])
def test_a_slip_leads_to_the_parameter_or_to_nothing(name: str) -> None:
    found = [did_you_mean(slip, NAMES) for slip in slips(name)]
    assert {meaning(meant) for meant in found if meant} == {name}
    assert sum(meant is not None for meant in found) > 0.8 * len(found), (
        "a suggestion helps only where it is made"
    )


@pytest.mark.parametrize(
    ("word", "others"),
    [
        ("lr_scheduler", ["lr_end", "lr"]), ("use_qlora", ["use_lora"]), ("load_in_2bit", ["load_in_4bit"]),
        ("beta1", ["beta2"]), ("use_vera", ["use_dora", "use_lora"]), ("eval_steps", ["save_steps"]),
        ("min_lr", ["min_p"]), ("train_dir", ["train_file"]), ("top_k", ["top_p"]), ("", ["a"]), ("--", ["a"]),
    ],
)  # fmt: skip
def test_a_word_of_another_meaning_is_not_named(word: str, others: list[str]) -> None:
    assert did_you_mean(word, others) is None


def test_parts_in_another_order_are_the_same_name() -> None:
    assert did_you_mean("rate_learning", ["learning_rate"]) == "learning_rate"
    assert did_you_mean("learningRate".lower(), ["learning_rate"]) == "learning_rate"
