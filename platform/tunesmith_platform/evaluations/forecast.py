"""What an evaluation will take before it starts: generations, memory, time. Starts nothing.

Knows the kinds' rooms, past evaluations and the estimates' formula; knows no statistics.
"""

from dataclasses import replace
from typing import cast

from tunesmith.evaluation_views import EvaluationForecast
from tunesmith.spec.evaluation import EvaluateSpec
from tunesmith.spec.task import NewTask
from tunesmith_platform.backends.compute import ComputeService
from tunesmith_platform.db.engine import Database
from tunesmith_platform.estimates.answering import answering
from tunesmith_platform.estimates.speed import calibrations_in
from tunesmith_platform.evaluations import repository
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks.kinds.registry import Kinds


class Forecasts:
    """Says what evaluations will take.

    Args:
        database: Where past ones are.
        settings: Where the speed of this machine is kept.
        kinds: Know what a task would ask.
        compute: What there is to compute on.
    """

    def __init__(self, database: Database, settings: Settings, kinds: Kinds, compute: ComputeService) -> None:
        self._database = database
        self._kinds = kinds
        self._compute = compute
        self._calibrations = calibrations_in(settings.home)

    def forecast(self, scope: Scope, new: NewTask) -> EvaluationForecast:
        """What a task will take that has models answer samples. No transaction is open.

        Answers that are known from before cost nothing: it may be less.

        Raises:
            InvalidInput: It cannot be done, or compares no candidates.
        """
        asking = self._kinds.of(new.kind).asking(scope, new)
        compute = self._compute.look()
        found = answering(asking, compute, self._calibrations)
        each, source, measured_at = found.seconds, found.source, found.measured_at
        spec = cast(EvaluateSpec, new.spec)
        judged: tuple[float, str] | None = None
        with self._database.read() as session:
            past = repository.newest_speed(session, scope, str(asking.folder))
            if spec.judge_base_url is not None and spec.judge_model is not None:
                judged = repository.newest_judging(session, scope, spec.judge_base_url, spec.judge_model)
        if past is not None:
            other = replace(asking, new_tokens=past.new_tokens)
            each = past.seconds * found.seconds / answering(other, compute, self._calibrations).seconds
            source, measured_at = f"the past task `{past.name}` with the same model", past.measured_at
        generations = len(asking.models) * asking.samples * asking.repeats
        judgements = generations if spec.judge_base_url is not None else 0
        return EvaluationForecast(
            candidates=list(asking.models),
            samples=asking.samples,
            repeats=asking.repeats,
            generations=generations,
            most_new_tokens=generations * asking.new_tokens,
            seconds=generations * each,
            source=source,
            measured_at=measured_at,
            judgements=judgements,
            judge_seconds=judgements * judged[0] if judged else None,
            judge_source=f"the past task `{judged[1]}` with the same judge" if judged else "",
            device=found.device,
            memory_bytes=found.memory_bytes,
            there_is_bytes=found.there_is,
            fits=None if found.there_is is None else found.memory_bytes <= found.there_is,
        )
