"""Benchmarks of candidates: what is handed to lm-eval, what is read of it, what is kept, and what a failure costs."""

import csv
import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import benchmark_stand_in
import pytest
from compared import TASK, Asked, Trained

from tunesmith.errors import InvalidInput
from tunesmith.evaluation.benchmark_file import read_benchmark
from tunesmith.evaluation.document import EvaluationDocument
from tunesmith.evaluation.report import html
from tunesmith.events import EvaluationMade
from tunesmith.lifecycle import Desired, State
from tunesmith_jobs.evaluate import benchmarks, lm_eval_child
from tunesmith_jobs.failures import Stopped
from tunesmith_jobs.models.libraries import prepare_libraries

HAS_IT = importlib.util.find_spec("lm_eval") is not None
OWN = """
task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: sums.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}} ="
doc_to_choice: "{{choices}}"
doc_to_target: gold
metadata: {version: 2.5}
"""
ROLLING = (
    "metric_list: [{metric: byte_perplexity, aggregation: weighted_perplexity, higher_is_better: false}]\n"
)


@pytest.fixture
def asked(tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(tmp_path / "asked", trained, monkeypatch)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """lm-eval's stand-in; its work is done in this process, and the orders are kept."""
    orders: list[dict[str, Any]] = []

    def run(order: dict[str, Any]) -> dict[str, Any]:
        orders.append(order)
        folder = Path(order["scratch"]) / f"benchmarks-{len(orders)}"
        folder.mkdir(parents=True)
        made = {"look": lm_eval_child.look, "take": lm_eval_child.take}[order["what"]]
        return json.loads(json.dumps(made(order | {"scratch": str(folder)})))

    monkeypatch.setattr(benchmarks, "run", run)
    for _ in benchmark_stand_in.installed(tmp_path / "packages", monkeypatch):
        yield orders


def own(folder: Path, text: str = OWN) -> dict[str, Any]:
    rows = [
        {"question": f"{n} + {n}", "choices": [str(2 * n), str(3 * n + 1)], "gold": 0} for n in range(1, 9)
    ]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_benchmark(text).at(folder).config()


def test_figures_stand_beside_the_scores_and_are_kept(
    asked: Asked, stand_in: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = own(tmp_path)
    _with_own(monkeypatch, given)
    outcome = asked.run(benchmarks=["two_plus"], benchmark_limit=2, benchmark_shots=1)
    assert outcome.outcome is State.COMPLETED, outcome
    result = asked.result
    assert result.benchmarked_by == benchmark_stand_in.VERSION
    figures = {one.candidate.key: {s.name: s for s in one.benchmarks} for one in result.candidates}
    names = ["benchmark/two_plus/acc", "benchmark/sums/acc"]
    assert all(list(own) == names for own in figures.values())
    values = {key: own[names[0]].value for key, own in figures.items()}
    assert len(set(values.values())) == 3, "each candidate was asked with its own weights"
    one = figures["base"][names[0]]
    assert (one.error, one.version, one.shots, one.samples, one.limit) == (0.25, "1.0", 1, 2, 2)
    (made,) = asked.said(EvaluationMade)
    assert made.means["base"][names[0]] == one.value
    assert names[0] not in result.of("base").means, "a mean over samples is something else"
    with (asked.folder / "artifacts/evaluation/candidates.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0][names[0]]) == one.value
    assert float(rows[0][f"{names[0]}_stderr"]) == 0.25
    for language in ("en", "zh"):
        page = html(result, language)
        assert "two_plus/acc" in page
        assert "± 0.25" in page

    # The same again computes nothing; another limit is another figure.
    before = len(stand_in)
    asked.run(attempt=2, benchmarks=["two_plus"], benchmark_limit=2, benchmark_shots=1)
    assert [order["what"] for order in stand_in[before:]] == ["look"]
    assert [one.benchmarks for one in asked.result.candidates] == [
        one.benchmarks for one in result.candidates
    ]
    asked.run(attempt=3, benchmarks=["two_plus"], benchmark_limit=1, benchmark_shots=1)
    assert {order["what"] for order in stand_in[before + 1 :]} == {"look", "take"}


def _with_own(monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]) -> None:
    real = EvaluationDocument.model_validate
    import compared

    def document(**fields: Any) -> EvaluationDocument:
        return real(fields | {"own_benchmark": given})

    monkeypatch.setattr(compared, "EvaluationDocument", document)


@pytest.mark.usefixtures("stand_in")
def test_one_that_fails_costs_its_figures_and_no_others(asked: Asked) -> None:
    outcome = asked.run([asked.trained.candidate(4)], benchmarks=["asleep", "two_plus"])
    assert outcome.outcome is State.COMPLETED
    (one,) = asked.result.candidates
    assert [score.benchmark for score in one.benchmarks] == ["two_plus"]
    assert asked.warned().count("benchmark_failed") == 1
    assert any("the hub is out of reach" in text.en for text in asked.result.warnings)


def test_a_stop_leaves_the_figures_that_are_there(asked: Asked, stand_in: list[dict[str, Any]]) -> None:
    real = benchmarks.run

    def stopping(order: dict[str, Any]) -> dict[str, Any]:
        made = real(order)
        if order["what"] == "take":
            asked.outlet.desired = Desired.STOP
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmarks, "run", stopping)
        with pytest.raises(Stopped):
            asked.run(benchmarks=["two_plus"])
    # One more than finds place is handed out.
    found = [[one.benchmark for one in each.benchmarks] for each in asked.result.candidates]
    assert found == [["two_plus"], ["two_plus"], []]
    assert asked.result.benchmarked_by == benchmark_stand_in.VERSION
    asked.outlet.desired = Desired.RUN
    before = len(stand_in)
    asked.run(attempt=2, benchmarks=["two_plus"])
    assert [order["what"] for order in stand_in[before:]] == ["look", "take"]


@pytest.mark.usefixtures("stand_in")
def test_a_name_that_lm_eval_does_not_know_is_refused_before_anything_is_asked(asked: Asked) -> None:
    with pytest.raises(InvalidInput) as caught:
        asked.run(benchmarks=["two_pluss"])
    assert "`two_plus`" in str(caught.value.hint)
    assert [one.field for one in caught.value.problems] == ["benchmarks"]
    assert asked.generated == 0


def test_without_the_package_the_cure_is_said(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "LM_EVAL", "lm_eval_that_is_not_there")
    with pytest.raises(InvalidInput, match="lm-eval") as caught:
        asked.run(benchmarks=["two_plus"])
    assert "tunesmith[benchmarks]" in str(caught.value.hint)


@pytest.mark.slow
@pytest.mark.parametrize("offline", ["0", "1"])
def test_its_process_has_the_hub_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: str
) -> None:
    """What our own processes keep shut is open there, unless the administrator shut it."""
    for _ in benchmark_stand_in.installed(tmp_path / "packages", monkeypatch):
        (tmp_path / "packages/lm_eval/tasks.py").write_text(
            "import json, os\n"
            "class TaskManager:\n"
            "    def __init__(self):\n"
            "        self.all_tasks = sorted(f'{name}={value}' for name, value in os.environ.items())\n"
        )
        monkeypatch.setenv("JUDGE_KEY", "secret")
        monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
        prepare_libraries()
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        started = tmp_path / "environ"
        started.write_bytes(b"A=1\0" + (b"HF_HUB_OFFLINE=1\0" if offline == "1" else b"") + b"B=2\0")
        monkeypatch.setattr(benchmarks, "_STARTED_WITH", started)
        order = {"what": "look", "names": [f"HF_HUB_OFFLINE={offline}", "JUDGE_KEY=secret",
                 "RAY_AUTH_TOKEN=secret"], "cpus": 1.0, "task_id": TASK,
                 "scratch": str(tmp_path / "work" / TASK)}  # fmt: skip
        found = benchmarks.run(order)
        assert found["unknown"].keys() == {"JUDGE_KEY=secret", "RAY_AUTH_TOKEN=secret"}
        assert not list((tmp_path / "work" / TASK).rglob("order.json")), "its folder is gone"


def test_of_a_group_its_own_figures_and_of_several_theirs() -> None:
    parts: dict[str, Any] = {
        "versions": {"g": 2, "a": 1, "b": 1}, "n-shot": {"a": 5, "b": 5},
        "higher_is_better": {"a": {"acc": True}}, "n-samples": {"a": {"effective": 3}, "b": {"effective": 4}},
    }  # fmt: skip
    single = {"a": {"acc,none": 0.5, "acc_stderr,none": "N/A", "alias": "a", "sample_len": 3},
              "b": {"exact_match,strict-match": 1, "acc,none": math.nan, "em,maj@8": 0.5}}  # fmt: skip
    grouped = parts | {"results": single, "groups": {"g": {"acc,none": 0.75, "acc_stderr,none": 0.1}}}
    (one,) = lm_eval_child.figures("g", grouped, None)
    assert (one.benchmark, one.value, one.error, one.shots, one.samples) == ("g", 0.75, 0.1, 5, 7)
    found = lm_eval_child.figures("a-tag", parts | {"results": single}, 9)
    assert [(one.name, one.error, one.samples) for one in found] == [
        ("benchmark/a/acc", None, 3), ("benchmark/b/exact_match/strict-match", None, 4),
        ("benchmark/b/em/maj_8", None, 4),
    ]  # fmt: skip


# --- the real one


@pytest.fixture
def real_model(asked: Asked, tmp_path: Path) -> Any:
    if not HAS_IT:
        pytest.skip("`lm-eval` is not installed: `pip install -c constraints.txt tunesmith[benchmarks]`.")
    one = asked.trained.candidate(8)
    document = EvaluationDocument(
        task_id=TASK, attempt=1, kind="evaluate", name="e", spec={}, api_url="http://127.0.0.1:1", token="none",
        work_dir=str(tmp_path), submitted_at="2026-01-01T00:00:00Z", model_uri=one.candidate.uri,
        training=one.training, encoder_path=one.encoder_path,
    )  # fmt: skip
    return lm_eval_child._language_model(document, tmp_path / "loaded", 4)


@pytest.mark.long
def test_the_real_one_is_as_its_stand_in_says(real_model: Any, tmp_path: Path) -> None:
    """A choice is right where its log-likelihood is the larger: computed here by a plain pass over the same texts."""
    import torch

    results = lm_eval_child.evaluated(real_model, own(tmp_path), limit=5, shots=0)
    figures = {one.metric: one for one in lm_eval_child.figures("sums", results, 5)}
    one = figures["acc"]
    assert (one.version, one.shots, one.samples, one.limit, one.higher_is_better) == ("2.5", 0, 5, 5, True)

    def likelihood(context: str, answer: str) -> float:
        before = real_model.tokenizer(context)["input_ids"]
        ids = torch.tensor([real_model.tokenizer(context + answer)["input_ids"]])
        with torch.no_grad():
            logs = real_model.model(ids).logits[0].log_softmax(-1)
        places = range(len(before), ids.shape[1])
        return sum(float(logs[place - 1, ids[0, place]]) for place in places)

    right = [
        likelihood(f"{n} + {n} =", f" {2 * n}") > likelihood(f"{n} + {n} =", f" {3 * n + 1}")
        for n in range(1, 6)
    ]
    assert one.value == sum(right) / 5
    spread = math.sqrt(one.value * (1 - one.value) / 4)
    assert one.error == pytest.approx(spread)


@pytest.mark.long
def test_the_real_one_renders_templates_of_users_in_a_sandbox(real_model: Any, tmp_path: Path) -> None:
    """lm-eval's own environment lets a template reach all of Python."""
    reach = OWN.replace("{{question}} =", "{{ question.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(Exception, match="unsafe"):
        lm_eval_child.evaluated(real_model, own(tmp_path, reach), limit=1, shots=None)


@pytest.mark.long
def test_the_real_one_in_its_own_process_for_each_candidate(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not HAS_IT:
        pytest.skip("`lm-eval` is not installed.")
    text = OWN.replace("multiple_choice", "loglikelihood_rolling").replace("gold", "'{{question}}'")
    _with_own(monkeypatch, own(tmp_path, text + ROLLING))
    assert asked.run(benchmark_file="/unread.yaml").outcome is State.COMPLETED
    values = [one.figures["benchmark/sums/byte_perplexity"] for one in asked.result.candidates]
    assert len(set(values)) == 3
    assert all(math.isfinite(value) and value > 1 for value in values)
    assert not list((asked.folder / "work" / TASK).rglob("merged")), "merged models are gone"


@pytest.mark.long
def test_the_real_one_knows_its_names() -> None:
    if not HAS_IT:
        pytest.skip("`lm-eval` is not installed.")
    found = lm_eval_child.look({"names": ["hellaswag", "hellaswagg", "mmlu"]})
    assert found["unknown"].keys() == {"hellaswagg"}
    assert "hellaswag" in found["unknown"]["hellaswagg"]
