"""What of rows is not trained is said alike by a report, a preview, an estimate and the training itself."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import training_run as tr
from tiny_model import make_tokenizer_folder

from tunesmith.dataset_views import Finding
from tunesmith.errors import InvalidData
from tunesmith.rows.report.preview import preview
from tunesmith.rows.report.validation import validate
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.batches.encoded import load_rows
from tunesmith_jobs.batches.inputs import load_data
from tunesmith_jobs.batches.token_cache import TokenCache
from tunesmith_platform.sandbox import work

DROPS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] if m.role == 'assistant' else "
    "m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def chat(question: str, answer: str, **more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": turns} | more


FILES: dict[str, tuple[list[dict[str, Any]], dict[str, Any], list[str]]] = {
    "thoughts that the template drops": (
        [chat("2+2?", f"<think>\nI add {i}.\n</think>\n\nIt is 4.") for i in range(8)], {}, ["reasoning_dropped"],
    ),
    "long texts": ([{"text": f"{i} word " * 300} for i in range(6)], {"max_length": 64}, ["rows_cut"]),
    "columns beside": (
        [{"question": f"q{i}", "cot": "hm", "answer": "a", "score": i, "id": str(i)} for i in range(5)], {},
        ["reasoning_not_read", "scores_not_read", "columns_not_read"],
    ),
    "too long a question": (
        [chat("word " * 300, "never seen"), chat("q", "a")], {"max_length": 64}, ["rows_without_labels", "rows_cut"],
    ),
    "nothing": ([chat("q", "a")], {}, []),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tokenizer_folder(tmp_path_factory.mktemp("model") / "m", template=DROPS)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", list(FILES))
def test_the_four_say_the_same(tmp_path: Path, folder: Path, name: str) -> None:
    rows, given, codes = FILES[name]
    path = write(tmp_path / "train.jsonl", rows)
    spec = TrainSpec.read({"model_name_or_path": str(folder), "train_file": str(path)} | given)
    report = validate(path, spec, model=folder).findings
    assert [one.code for one in report] == codes
    assert preview(path, spec, folder).findings == report
    asked = {"file": str(path), "spec": spec.model_dump(mode="json"), "model": str(folder), "tokenizer": None}
    assert [Finding.model_validate(one) for one in json.loads(work.findings(asked))] == report
    cache = TokenCache(tmp_path / "tokens")
    for _ in range(2):  # made, then read from the cache
        data = load_data(spec, folder, path, None, None, cache=cache)
        said = list(data.warnings())
        assert [(one.code, one.hint) for one in said] == [(one.code, one.hint) for one in report]
        assert all(one.message in told.message for one, told in zip(report, said, strict=True))
        assert all(
            one.examples[0].place in told.message
            for one, told in zip(report, said, strict=True)
            if one.examples
        )


def test_several_processes_say_what_one_says(tmp_path: Path, folder: Path) -> None:
    rows = [chat(f"{i}+2?", f"<think>\nI add {i}.\n</think>\n\nIt is 4.", id=i) for i in range(700)]
    source = tr.source(write(tmp_path / "train.jsonl", rows), folder)
    alone, blocks = load_rows(source).findings, []
    from tunesmith.rows.bad_rows import BadRows
    from tunesmith.rows.findings import Census
    from tunesmith_jobs.batches.tokenize import tokenise

    tokenise(source, BadRows(source.rows.place), blocks.append, 2)
    census = Census()
    for block in blocks:
        census.add(block.census)
    assert tuple(census.findings(source.shape, source.rows.place, source.spec.max_length)) == alone
    assert [one.count for one in alone] == [700, 700]


def test_a_training_tells_one_cause_once(tmp_path: Path, folder: Path) -> None:
    """Bad answers of KTO data: refused with their count, or left out when the user says so."""
    rows = [{"prompt": f"q{i}", "completion": f"a{i}", "label": i % 2 == 0} for i in range(40)]
    path = write(tmp_path / "train.jsonl", rows)
    with pytest.raises(InvalidData) as caught:
        load_rows(tr.source(path, folder))
    assert caught.value.details == {"bad_rows": 20, "rows": 40}
    (problem,) = caught.value.problems
    assert problem.field == "train.jsonl:2"
    assert "20 rows: train.jsonl:2 (`prompt: q1, completion: a1, label: False`)" in problem.message
    source = tr.source(path, folder, allowed_bad_percent=100)
    loaded = load_rows(source)
    assert (len(loaded.rows), loaded.skipped) == (20, 20)
    decode = source.encoder._tokenizer.decode
    asked = {re.search(r"q(\d+)", decode(loaded.rows[i].input_ids.tolist())).group(1) for i in range(20)}  # type: ignore[union-attr]
    assert asked == {str(i) for i in range(0, 40, 2)}
    spec = TrainSpec.read(
        {"model_name_or_path": str(folder), "train_file": str(path), "allowed_bad_percent": 100}
    )
    (said,) = load_data(spec, folder, path, None, None).warnings()
    assert said.code == "rows_skipped"
    assert said.message.count("marks the answer as a bad one") == 1
