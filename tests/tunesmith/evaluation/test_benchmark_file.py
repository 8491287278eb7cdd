"""A benchmark of a user's own: what is read of it, and that nothing in it is a program or lies elsewhere."""

from pathlib import Path

import pytest

from tunesmith.errors import InvalidInput
from tunesmith.evaluation.benchmark_file import MOST_CHARACTERS, read_benchmark

GOOD = """
task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: sums.jsonl, dev: /data/dev.json}}
test_split: test
fewshot_split: dev
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 8}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}]
metadata: {version: 1.0}
"""


def test_what_was_given_is_handed_on_and_nothing_else(tmp_path: Path) -> None:
    found = read_benchmark(GOOD).at(tmp_path).config()
    assert found == {
        "task": "sums", "dataset_path": "json", "test_split": "test", "fewshot_split": "dev",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "sums.jsonl"), "dev": "/data/dev.json"}},
        "output_type": "generate_until", "doc_to_text": "{{question}}", "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8}, "metadata": {"version": 1.0},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True,
                         "ignore_case": True}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("doc_to_text: \"{{question}}\"", "doc_to_text: !function mine.text"), "!function"),
        (("metric: exact_match", "metric: !function mine.score"), "!function"),
        (("test_split: test", "process_docs: !function mine.docs"), "!function"),
        (("test_split: test", "include: ../other.yaml"), "include"),
        (("test_split: test", "class: !!python/name:os.system"), "YAML"),
        (("test_split: test", "custom_dataset: mine"), "custom_dataset"),
        (("test_split: test", "use_prompt: promptsource:x"), "use_prompt"),
        (("test_split: test", "filter_list: []"), "filter_list"),
        (("dataset_path: json", "dataset_path: somebody/dataset"), "dataset_path"),
        (("dataset_path: json", "dataset_path: ./loader.py"), "dataset_path"),
        (("data_files:", "trust_remote_code: true, data_files:"), "trust_remote_code"),
        (("metric: exact_match", "metric: somebody/metric"), "metric"),
        (("metric: exact_match", "hf_evaluate: true, metric: exact_match"), "hf_evaluate"),
        (("task: sums", "task: ../../etc/passwd"), "task"),
        (("task: sums", "task: [hellaswag, mmlu]"), "task"),
        (("task: sums", "task: 2026-01-01"), "date"),
        (("test_split: test", "test_split: &a test\nvalidation_split: *a"), "aliases"),
        (("task: sums", "- task: sums"), "YAML"),
        (("test_split: test", "test_split: test\ntest_split: dev"), "twice"),
    ],
)  # fmt: skip
def test_what_is_or_names_a_program_is_refused(change: tuple[str, str], words: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(InvalidInput) as caught:
        read_benchmark(GOOD.replace(*change))
    assert words in f"{caught.value.message} {[str(one) for one in caught.value.problems]}"


def test_no_mapping_and_what_is_too_long_are_refused() -> None:
    for text, words in (("[]", "mapping"), ("", "mapping"), ("task: " + "x" * MOST_CHARACTERS, "at most")):
        with pytest.raises(InvalidInput, match=words):
            read_benchmark(text)


@pytest.mark.parametrize("name", ["rows.py", "https://example.org/rows.csv", "hf://x/rows.parquet", "rows"])
def test_files_of_another_kind_are_refused(tmp_path: Path, name: str) -> None:
    """An address is a path here, and is not there; a program has another ending."""
    text = GOOD.replace("sums.jsonl", name)
    with pytest.raises(InvalidInput, match="no file of the kind"):
        read_benchmark(text).at(tmp_path)
