"""lm-eval in a process of its own: which benchmarks it knows, and what a model scores on some of them.

It reads an order of JSON and writes its answer to a file. Its process has the hub, which no other of ours has, and none
of our secrets; it seeds and patches what it likes; it ends with who started it. What is scored is the model as it would
be shipped: the adapter merged into its base in the precision in which that is stored. lm-eval's own way with adapters
(`peft=`) cuts a padded base to the tokenizer's length, and scores are others then.

Knows lm-eval; knows nothing of evaluations.
"""

import ctypes
import json
import math
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from tunesmith.availability import LM_EVAL
from tunesmith.evaluation.benchmark_names import known_benchmarks, unknown_benchmarks
from tunesmith.evaluation.results import BenchmarkScore
from tunesmith.model_step import ModelDocument
from tunesmith.spec.training import TrainSpec

_PR_SET_PDEATHSIG = 1
_RESAMPLES = 1000
"""Of lm-eval's bootstrap, which it uses for the standard error of what is no mean."""
_WORDS = 500
_ERROR = "_stderr"
_NO_FIGURES = ("alias", "name", "sample_len", "sample_count")


def version() -> str:
    """lm-eval's."""
    return metadata.version(LM_EVAL)


def look(order: Mapping[str, Any]) -> dict[str, Any]:
    """Which of some names are no benchmark, each with those that it may stand for.

    Args:
        order: `names`.
    """
    names = order["names"]
    unknown = unknown_benchmarks(names, known_benchmarks()) if names else {}  # to find them all takes seconds
    return {"version": version(), "unknown": unknown}


def take(order: Mapping[str, Any]) -> dict[str, Any]:
    """A model's figures on some benchmarks; one that fails costs its own figures.

    Args:
        order: `document` (a `ModelDocument` as JSON), `names`, `own` (a benchmark as values, or None), `limit`,
            `shots`, `batch_size`, `scratch`.

    Returns:
        `version`; `found`: figures by benchmarks; `failed`: why, by benchmarks.
    """
    document = ModelDocument.model_validate_json(order["document"])
    model = _language_model(document, Path(order["scratch"]), order["batch_size"])
    found, failed = {}, {}
    own = order["own"]
    wanted: list[tuple[str, Any]] = [(name, name) for name in order["names"]]
    wanted += [(own["task"], own)] if own is not None else []
    for name, task in wanted:
        try:
            results = evaluated(model, task, limit=order["limit"], shots=order["shots"])
            found[name] = [one.model_dump() for one in figures(name, results, order["limit"])]
        except Exception as error:  # a library's, the hub's, a template's of the user's
            failed[name] = " ".join(f"{type(error).__name__}: {error}".split())[:_WORDS]
    return {"version": version(), "found": found, "failed": failed}


def evaluated(model: Any, task: str | dict[str, Any], *, limit: int | None, shots: int | None) -> Any:
    """What lm-eval says of a model on one benchmark.

    Args:
        model: As lm-eval has it.
        task: The name of one of lm-eval's own, or a user's as values.
        limit: At most so many samples.
        shots: Solved examples before each question; as the benchmark says where None.
    """
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    is_own = isinstance(task, dict)
    if is_own:
        _render_in_a_sandbox()
    return simple_evaluate(
        model=model,
        tasks=[task],
        # A user's benchmark is no name: nothing of lm-eval's has to be looked through.
        task_manager=TaskManager(include_defaults=not is_own),
        limit=limit,
        num_fewshot=shots,
        bootstrap_iters=_RESAMPLES,
        log_samples=False,
        confirm_run_unsafe_code=False,  # no program that a model writes is run
    )


def figures(name: str, results: Mapping[str, Any], limit: int | None) -> list[BenchmarkScore]:
    """The figures of one benchmark: its own, or, where it stands for several that have none in common, theirs.

    Args:
        name: The benchmark.
        results: As lm-eval gives them of it.
        limit: How many samples were wanted at most.
    """
    by_task = {**results["results"], **results.get("groups", {})}
    shots, samples = results.get("n-shot", {}), results.get("n-samples", {})
    found = []
    for task in [name] if name in by_task else sorted(by_task):
        own = {task: samples[task]} if task in samples else samples  # a group's are those of its parts
        asked = [int(one["effective"]) for one in own.values()]
        for key, value in by_task[task].items():
            metric, _, read = key.partition(",")
            if key in _NO_FIGURES or metric.endswith(_ERROR) or not _is_figure(value):
                continue
            error = by_task[task].get(f"{metric}{_ERROR},{read}")
            found.append(
                BenchmarkScore(
                    benchmark=task,
                    version=str(results.get("versions", {}).get(task, "")),
                    metric=metric,
                    filter=read or "none",
                    value=float(value),
                    error=float(error) if _is_figure(error) else None,
                    higher_is_better=results.get("higher_is_better", {}).get(task, {}).get(metric),
                    shots=int(shots.get(task, max(shots.values(), default=0))),
                    samples=sum(asked) if asked else None,
                    limit=limit,
                )
            )
    return found


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _render_in_a_sandbox() -> None:
    """Let templates reach nothing but a row's values: lm-eval renders them with all of Python in reach."""
    import lm_eval.utils
    from jinja2 import BaseLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    before = lm_eval.utils.env
    closed = ImmutableSandboxedEnvironment(
        loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True
    )
    closed.filters.update(before.filters)
    lm_eval.utils.env = closed


def _language_model(document: ModelDocument, scratch: Path, batch_size: int) -> Any:
    """The model as lm-eval has it, loaded by our own closed reader."""
    from tunesmith_jobs.models.libraries import prepare_libraries

    prepare_libraries()
    import torch
    from lm_eval.models.huggingface import HFLM

    from tunesmith_jobs.models.build import load_base
    from tunesmith_jobs.models.fetch import fetch_model
    from tunesmith_jobs.models.library_tokenizer import library_tokenizer, made_of
    from tunesmith_jobs.models.merge import merge
    from tunesmith_jobs.models.precision import choose

    training = TrainSpec.stored(document.training)
    choice = choose(training)
    folder = fetch_model(document.model_uri, scratch / "given")
    if training.use_lora:
        merge(folder, Path(training.model_name_or_path), scratch / "merged", training, None)
        folder = scratch / "merged"
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    model = load_base(folder, None, {"dtype": kinds[choice.precision]}).to(choice.device).eval()
    encoder = Path(document.encoder_path)
    own = Path(document.tokenizer_path) if document.tokenizer_path else None
    place = library_tokenizer(encoder, own, scratch / "library").folder or own or encoder
    return HFLM(pretrained=model, tokenizer=made_of(place), batch_size=batch_size)


def main(argv: Sequence[str]) -> None:
    """Do an order: `look|take PARENT ORDER ANSWER`."""
    what, parent, order, answer = argv
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it has ended meanwhile
        os._exit(1)
    made = {"look": look, "take": take}[what](json.loads(Path(order).read_text(encoding="utf-8")))
    Path(answer).write_text(json.dumps(made), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
