"""The samples that come with Tunesmith: sound, in both languages, and in the wheel."""

import re
import tomllib
from pathlib import Path

from tunesmith.evaluation.samples import default_files, default_samples, read_samples
from tunesmith.evaluation.scores.checks import parse_checks, passed

ROOT = Path(__file__).resolve().parents[3]


def test_our_own_samples_are_sound_and_no_two_alike() -> None:
    found = default_samples()
    assert found.counts == {"train": 12, "validation": 128}
    assert not found.problems
    questions = ["\n".join(turn.content for turn in sample.turns) for sample in found.samples]
    assert len(set(questions)) == len(questions)
    for language, file in default_files().items():
        own = read_samples(file)
        assert own.counts == {"train": 6, "validation": 64}
        assert not own.notes  # none stands there twice
        for sample in own.samples:
            is_chinese = any("\u4e00" <= letter <= "\u9fff" for letter in sample.turns[-1].content)
            assert is_chinese == (language == "zh")
            # What it asks to be named is in the answer that it expects.
            for keyword in sample.keywords or ():
                assert keyword.casefold() in sample.reference.casefold(), sample
            assert sample.label in (None, sample.reference)


def test_our_own_answers_keep_what_their_checks_ask() -> None:
    named: dict[str, int] = {}
    for sample in default_samples().samples:
        checks = parse_checks(sample.checks)
        assert not checks or passed(sample.reference, checks) == 1, sample
        for check in checks:
            name = re.split("[:=<]", check.text)[0]
            named[name] = named.get(name, 0) + 1
    assert set(named) == {"json", "bullets", "words", "contains", "language"}
    assert min(named.values()) >= 6


def test_an_installed_package_carries_them() -> None:
    included = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    target = included["force-include"]["configs/evaluation"]
    assert (ROOT / "platform" / target) == Path(read_samples.__code__.co_filename).parents[
        1
    ] / "configs/evaluation"
