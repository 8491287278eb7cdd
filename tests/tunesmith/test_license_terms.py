"""What licenses ask of who passes a model on: a table, by the names that models' files give them."""

import re
from pathlib import Path

import pytest

from tunesmith.language import Language, tr
from tunesmith.model_folder import Passing, license_name, terms_of

ASKED = {
    Passing.FREE: [
        "apache-2.0", "Apache License", "mit", "MIT License", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "unlicense",
    ],
    Passing.SAME: ["cc-by-sa-4.0", "gpl-3.0", "GNU GENERAL PUBLIC LICENSE", "agpl-3.0", "mpl-2.0"],
    Passing.USES: [
        "gemma", "Gemma Terms of Use", "llama2", "LLAMA 2 COMMUNITY LICENSE AGREEMENT", "openrail",
        "bigcode-openrail-m", "bigscience-bloom-rail-1.0", "creativeml-openrail-m", "deepseek",
    ],
    Passing.NAMED: [
        "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "META LLAMA 3 COMMUNITY LICENSE AGREEMENT",
        "LLAMA 3.1 COMMUNITY LICENSE AGREEMENT", "qwen", "Tongyi Qianwen LICENSE AGREEMENT",
    ],
    Passing.LIMITED: [
        "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "CC BY-NC 4.0", "Attribution-NonCommercial 4.0 International",
        "qwen-research", "Qwen RESEARCH LICENSE AGREEMENT", "mrl", "Mistral AI Research License", "mnpl",
        "fair-noncommercial-research-license", "Mistral AI Non-Production License",
    ],
    Passing.FORBIDDEN: ["cc-by-nd-4.0", "cc-by-nc-nd-4.0", "Attribution-NoDerivatives 4.0 International"],
    Passing.UNKNOWN: [None, "", "other", "acme-model-license", "unknown"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "passing"), [(name, passing) for passing, names in ASKED.items() for name in names], ids=str
)
def test_a_license_is_known_by_its_name(name: str | None, passing: Passing) -> None:
    assert terms_of(name).passing is passing


def test_who_must_say_that_they_read_it() -> None:
    """Those whose license forbids something; those that ask for a name or hand their terms on are shown."""
    accepted = {passing for passing in Passing if terms_of(ASKED[passing][-1]).must_be_accepted}
    assert accepted == {Passing.LIMITED, Passing.FORBIDDEN}
    shown = {passing for passing in Passing if terms_of(ASKED[passing][-1]).is_shown}
    assert shown == set(Passing) - {Passing.FREE, Passing.SAME}


def test_every_license_is_told_of_in_both_languages() -> None:
    for names in ASKED.values():
        for name in names:
            said = terms_of(name).sentence(name)
            in_chinese = tr(said, Language.ZH)
            assert re.search(r"[\u4e00-\u9fff]", in_chinese), said
            assert not name or (name in said and name in in_chinese)


@pytest.mark.parametrize("version", ["3", "3.1", "3.2", "3.3"])
def test_llamas_name_and_notice(version: str) -> None:
    terms = terms_of(f"llama{version}")
    assert terms.must_begin == "Llama"
    assert terms.lines[0] == "Built with Llama"
    assert f"Llama {version} is licensed under the Llama {version} Community License" in terms.lines[1]


def test_it_is_found_in_a_models_files(tmp_path: Path) -> None:
    (tmp_path / "LICENSE.txt").write_text("\n  LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\nrest\n")
    assert terms_of(license_name(tmp_path)).must_begin == "Llama"
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: qwen-research\n---\n")
    assert terms_of(license_name(tmp_path)).passing is Passing.LIMITED
