"""Pipelines: the YAML of components and workflows, read, checked, and turned into steps.

The YAML is model-compose's: `components` say what there is (`datasets`, `model-trainer`; our own `model-evaluator`,
`model-generator`, `model-packager`), `workflows` have `jobs` that use them, and variables tie them together
(`tunesmith.spec.variables`). In a component `${input.x}` is the input of the
job that uses it; in a job it is the input of the run. Everything that can be known before anything runs is checked
here, each problem with its place. Pure functions; knows nothing of files, of the environment, or of who runs the steps.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

from tunesmith.errors import MAX_PROBLEMS, InvalidInput, Problem, shortened
from tunesmith.spec.base import Notice, Spec
from tunesmith.spec.dataset import DATASET, operation
from tunesmith.spec.kinds import KindName, components
from tunesmith.spec.loading import refuse_bare_token
from tunesmith.spec.parameter import about
from tunesmith.spec.pipeline_file import (
    MAX_STEPS,
    Component,
    Job,
    Pipeline,
    chosen_workflow,
    jobs_of,
    together,
)
from tunesmith.spec.problems import did_you_mean
from tunesmith.spec.training import TRAIN, TrainSpec
from tunesmith.spec.variables import Variable, resolve, variables_in

_SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "KEY")
_STAND_IN = "-"
SPLIT_PARTS = ("train", "eval", "test")
"""What a split hands on, each under its own name."""


class Step(BaseModel):
    """One piece of work. Variables of earlier steps and of the environment still stand in it."""

    id: str
    kind: KindName
    component: str
    method: str
    parameters: dict[str, Any]
    output: Any = Field(None, description="What the step hands on; its whole output when null.")
    needs: list[str] = Field(default_factory=list)
    notices: list[Notice] = Field(
        default_factory=list, description="What of it was written as it was called before."
    )


def plan(
    pipeline: Pipeline,
    *,
    workflow: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    model: str | None = None,
) -> list[Step]:
    """The steps of a run, each after those that it needs, and everything checked that can be known now.

    Args:
        pipeline: The file.
        workflow: Which of its workflows; may be left out where there is only one.
        inputs: The run's `${input.…}`.
        overrides: Parameters over those of components: component id to parameters.
        model: The base model of trainers that name none.

    Raises:
        InvalidInput: With every problem, each with its place and cure.
    """
    wanted = chosen_workflow(pipeline, workflow)
    components = {component.id: component for component in pipeline.components}
    given, changed = dict(inputs or {}), dict(overrides or {})
    problems: list[Problem] = []
    unknown = [name for name in changed if name not in components]
    problems += [_unknown("overrides", "component", name, components) for name in unknown[:MAX_PROBLEMS]]
    more = len(unknown) - len(problems)
    jobs = jobs_of(wanted)
    if not 0 < len(jobs) <= MAX_STEPS:
        raise InvalidInput(
            f"The workflow `{wanted.id}` has {len(jobs)} jobs.",
            hint=f"Give 1 to {MAX_STEPS}.",
            field="workflows",
        )
    steps: list[Step] = []
    for job in jobs:
        place = f"workflows[{wanted.id}].jobs[{job.id}]"
        component = components.get(job.component)
        if component is None:
            problems.append(_unknown(f"{place}.component", "component", job.component, components))
            continue
        try:
            steps.append(_step(component, job, given, changed.get(component.id, {}), model))
        except InvalidInput as error:
            problems += _placed(place, error)
            more += error.more_problems
    problems += _unmet_references(f"workflows[{wanted.id}]", jobs, steps)
    if problems:
        raise together(problems, more)
    return _ordered(steps)


def _unmet_references(place: str, jobs: Sequence[Job], steps: Sequence[Step]) -> list[Problem]:
    """What is said to come from, or after, a job that is not there; or from a part that a split does not have."""
    ids = {job.id for job in jobs}
    parts_of = {step.id: SPLIT_PARTS for step in steps if step.method == "split" and step.output is None}
    found = [
        _unknown(f"{place}.jobs[{job.id}].depends_on", "job", need, ids)
        for job in jobs
        for need in job.depends_on
        if need not in ids
    ]
    for step in steps:
        where = f"{place}.jobs[{step.id}]"
        for variable in _job_variables([step.parameters, step.output]):
            need, part = variable.path[0], variable.path[2:]
            if need not in ids:
                found.append(_unknown(where, "job", need, ids))
            elif (made := parts_of.get(need)) and not (part and part[0] in made):
                hint = f"Write {' or '.join(f'`${{jobs.{need}.output.{name}}}`' for name in made)}."
                found.append(Problem(field=where, message=f"`{variable.text}` has parts.", hint=hint))
    return found


def _step(
    component: Component,
    job: Job,
    inputs: Mapping[str, Any],
    overrides: Mapping[str, Any],
    model: str | None,
) -> Step:
    """One job with its component, as one step."""
    made = components()[component.type]
    kind = made.name
    passed = inputs if job.input is None else resolve(job.input, {"input": inputs})
    written = component.parameters | dict(overrides)
    parameters = resolve(written, {"input": passed})
    method = kind
    notices = list(component.notices)
    if made is DATASET:
        method = job.method or component.method or "load"
        spec: type[Spec] = operation(method)
        if method == "load" and "provider" not in parameters and "driver" not in parameters:
            is_local = "path" not in parameters and {"data_files", "data_dir"} & parameters.keys()
            parameters["provider"] = "local" if is_local else "huggingface"
    else:
        for given in (job.method, component.method):
            if given in made.former:
                notices.append(Notice(field="method", message=f"`{given}` was read as `{method}`."))
            elif given not in (None, method):
                raise InvalidInput(
                    f"A `{component.type}` has no method `{given}`.",
                    hint=f"Leave `method` out, or write `{method}`.",
                    field="method",
                )
        spec = made.spec
    known = _spellings(spec)
    used = {
        variable.path[0] for variable in variables_in(written) if variable.source == "input" and variable.path
    }
    for name, value in (passed if job.input is not None else {}).items():
        if name in known:
            meant = known[name]
            parameters = {key: old for key, old in parameters.items() if known.get(key, key) != meant}
            parameters[name] = value
        elif name not in used:
            close = did_you_mean(name, [*known, *used])
            hint = f"Did you mean `{close}`?" if close else f"`{component.id}` reads no such input."
            raise InvalidInput(
                f"`{name}` is not an input of `{component.id}`.", hint=hint, field=f"input.{name}"
            )
    if method == "load":
        refuse_bare_token(parameters)
    if made is TRAIN:
        parameters = _trainer(parameters, inputs, model)
    elif made is not DATASET:
        parameters = spec.canonical(parameters)[0]
    parameters = {name: value for name, value in parameters.items() if value is not None}
    check_environment(parameters, token=made is DATASET)
    stand_in = {name: _standing_in(value) for name, value in parameters.items()}
    spec.read(stand_in)
    output = None if job.output is None else resolve(job.output, {"input": inputs})
    needs = list(dict.fromkeys([*job.depends_on, *_references(parameters), *_references(output)]))
    return Step(
        id=job.id,
        kind=kind,
        component=component.id,
        method=method,
        parameters=parameters,
        output=output,
        needs=needs,
        notices=notices,
    )


def _trainer(given: Mapping[str, Any], inputs: Mapping[str, Any], model: str | None) -> dict[str, Any]:
    """A trainer's parameters under our names, with what the file leaves to the run: its model and its data."""
    named = TrainSpec.canonical(given)[0]
    for name, fallback, problem, hint in (
        (
            "model_name_or_path",
            model or inputs.get("model"),
            "Which base model to train is not given.",
            "Write `model: NAME` into the component, or name one for the run (`--model NAME`).",
        ),
        (
            "train_file",
            inputs.get("dataset"),
            "Which data to train on is not given.",
            "Write `dataset: ${jobs.<id>.output}`, or name a file for the run (`--input dataset=FILE`).",
        ),
    ):
        if named.get(name) is not None:
            continue
        if fallback is None:
            raise InvalidInput(problem, hint=hint, field=name)
        named[name] = fallback
    if named.get("eval_file") and "eval_strategy" not in named:
        named["eval_strategy"] = "steps" if "eval_steps" in named else "epoch"
    return named


def check_environment(parameters: Mapping[str, Any], *, token: bool) -> None:
    """See that secrets go into `token` alone, which is read where the step runs; other parameters are stored.

    Args:
        parameters: The step's.
        token: Whether it has a `token`.

    Raises:
        InvalidInput: One goes elsewhere, or a variable has no meaning here.
    """
    for name, value in parameters.items():
        for variable in variables_in(value):
            if variable.source == "output":
                raise InvalidInput(
                    f"`{variable.text}` has a meaning only in a job's `output`.",
                    hint="Write `${jobs.<id>.output}` for the output of an earlier job.",
                    field=name,
                )
            if variable.source != "env":
                continue
            if len(variable.path) != 1:
                raise InvalidInput(
                    f"`{variable.text}` names no variable.", hint="Write `${env.NAME}`.", field=name
                )
            is_secret = any(word in variable.path[0].upper() for word in _SECRET_WORDS)
            if is_secret and not (token and name == "token"):
                raise InvalidInput(
                    f"`{variable.text}` is a secret: it may be given as `token` of a data set only.",
                    hint=f"Leave it out of `{name}`.",
                    field=name,
                )


def _standing_in(value: Any) -> Any:
    """A value as it may look once its variables are known, for the check before anything runs."""
    if isinstance(value, str):
        return _STAND_IN if any(variables_in(value)) else value
    return [_standing_in(inner) for inner in value] if isinstance(value, list) else value


def _job_variables(value: Any) -> Iterator[Variable]:
    """The variables of a value that stand for outputs of jobs."""
    for variable in variables_in(value):
        if variable.source != "jobs":
            continue
        if len(variable.path) < 2 or variable.path[1] != "output":
            raise InvalidInput(f"`{variable.text}` is not understood.", hint="Write `${jobs.<id>.output}`.")
        yield variable


def _references(value: Any) -> Iterator[str]:
    """The jobs whose outputs a value needs."""
    return (variable.path[0] for variable in _job_variables(value))


def _ordered(steps: Sequence[Step]) -> list[Step]:
    """Steps so that each comes after those it needs, otherwise as they were written."""
    found: list[Step] = []
    left = list(steps)
    while left:
        done = {step.id for step in found}
        ready = [step for step in left if set(step.needs) <= done]
        if not ready:
            names = ", ".join(f"`{step.id}`" for step in left)
            raise InvalidInput(
                f"The jobs {names} wait for each other.",
                hint="Take one `depends_on` out.",
                field="depends_on",
            )
        found += ready
        left = [step for step in left if step not in ready]
    return found


def _spellings(spec: type[Spec]) -> dict[str, str]:
    """Every name that a parameter may be given by, with its own name."""
    found = {name: name for name in spec.model_fields}
    for name, info in spec.model_fields.items():
        found |= dict.fromkeys(about(info).aliases, name)
    return found


def _unknown(place: str, what: str, name: str, known: Any) -> Problem:
    meant = did_you_mean(name, list(known))
    listed = ", ".join(f"`{item}`" for item in sorted(known))
    hint = f"Did you mean `{meant}`?" if meant else f"There are {listed}."
    return Problem(field=place, message=f"There is no {what} `{shortened(name)}`.", hint=hint)


def _placed(place: str, error: InvalidInput) -> list[Problem]:
    return [problem.under(place) for problem in error.each_problem()]
