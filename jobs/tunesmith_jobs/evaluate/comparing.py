"""A comparison from its samples to its report: planned as values, answered by Ray Tasks, scored, compared, stored.

It runs in the attempt's driver, which computes nothing heavy and loads no torch. Every answer is kept as soon as it is
there: another attempt, and another evaluation of the same, compute what is missing and no more. Knows plans, the cache
and the pure parts of an evaluation; knows Ray by a protocol alone.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from tunesmith.activity import ActivityKind, Unit
from tunesmith.errors import InvalidModel
from tunesmith.evaluation.comparability import batch_disagreement
from tunesmith.evaluation.document import CandidateDocument, EvaluationDocument
from tunesmith.evaluation.results import EvaluationResult, Text
from tunesmith.events import Phase, Warned
from tunesmith.language import Language, tr
from tunesmith.lifecycle import Reason
from tunesmith.outcome import Outcome
from tunesmith.spec.evaluation import EvaluateSpec
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.evaluate import classing, given, shard
from tunesmith_jobs.evaluate.answers import from_json, make_room
from tunesmith_jobs.evaluate.entrants import Entrant, enter, mark_seen
from tunesmith_jobs.evaluate.fan import Fan, Lost, spread
from tunesmith_jobs.evaluate.finishing import Scorer, finish
from tunesmith_jobs.evaluate.further import Further
from tunesmith_jobs.evaluate.identity import (
    is_removed,
    refuse_what_is_not_as_saved,
    template_sha256,
)
from tunesmith_jobs.evaluate.planning import Shard, shards_of
from tunesmith_jobs.evaluate.progress import ComparisonProgress
from tunesmith_jobs.failures import Stopped
from tunesmith_jobs.model_work import Work

_EFFECT_SAMPLES = 8
_ALONE_OF = 256
"""Of so many answers at least some are computed again at batch 1, where that may change them: one costs several times
as much there."""
_log = logging.getLogger("tunesmith_jobs.evaluate")


class Comparison:
    """One attempt to compare candidates.

    Args:
        work: What it was handed, and whom it reports to.
        spec: The task's parameters.
        fan: Has answers computed.
        use_gpu: Whether they are computed on GPUs.
    """

    def __init__(self, work: Work, spec: EvaluateSpec, fan: Fan, *, use_gpu: bool) -> None:
        self._document = cast(EvaluationDocument, work.document)
        self._sorts = all(map(_is_classifier, self._document.candidates))
        """Whether candidates sort texts into classes, and answer nothing."""
        if self._sorts:
            spec = spec.model_copy(update={"temperature": 0.0, "embedder": "none"})
        self._work, self._spec, self._fan = work, spec, fan
        self._use_gpu = use_gpu
        self._warnings: list[Text] = []
        self._progress = ComparisonProgress(work.outlet)
        self._varies = False
        """Whether answers were computed now that another batch may change."""
        self._batch_disagreement: float | None = None
        self.samples, notes = given.samples_of(self._document, spec)
        self._warnings += notes
        if self._sorts:
            given.check_classes(self.samples, self._document)
        self.settings = {} if self._sorts else given.settings_of(spec)
        self.entrants: list[Entrant] = []
        self._scorer = Scorer(
            self.samples, spec, fan, work.check, self._answers_folder, given.scorers_of(self._document),
            sorts=self._sorts,
        )  # fmt: skip
        self._further = Further(work, spec, self._document, fan, self._answers_folder, self._warn)

    def run(self) -> Outcome:
        """Compare; says how it ended.

        Raises:
            InvalidModel: A candidate is not what was saved, or none changes anything.
            InvalidData: A sample cannot be asked.
            InvalidInput: A benchmark is not there.
            Lost: Workers were lost once too often.
        """
        self._further.look()
        self.entrants = self._entrants()
        self._work.phase_done(Phase.DATA)
        self._mark_seen()
        self._forecast()
        try:
            self._in_spite_of_removals(self._leave_out_what_changes_nothing)
            self._in_spite_of_removals(self._ask)
            self._ask_alone()
            self._further.rate(self.entrants, self.samples, self._scorer)
            self._further.benchmark(self.entrants, self._handed)
        except Stopped:
            # One that is whole has no scores yet where the stop came before them, or while its answers were embedded.
            whole = [one for one in self.entrants if one.result is not None]
            if not whole:
                raise Stopped("Stopped on request; what was answered is kept for the next time.") from None
            self.entrants = whole
            words = self._finish(is_partial=True)
            raise Stopped(f"Stopped on request; candidates that were whole: {len(whole)}. {words}") from None
        return Outcome.because(Reason.COMPLETED, self._finish(is_partial=False))

    @property
    def _answers_folder(self) -> Path:
        return Path(self._document.work_dir).parent / "answers"

    # --- before

    def close(self) -> None:
        """End what scorers hold."""
        self._scorer.custom.close()

    def _entrants(self) -> list[Entrant]:
        make_room(self._answers_folder)
        found, templates = [], set[str]()
        there = [one for one in self._document.candidates if not is_removed(one)]
        self._note_removed([one for one in self._document.candidates if one not in there], there)
        for document in there:
            self._work.check()
            refuse_what_is_not_as_saved(document)
            template = template_sha256(document)
            templates.add(template)
            entrant = enter(
                document, template, self.samples, self.settings, self._spec, self._answers_folder,
                is_exact=self._is_exact(document), use_gpu=self._use_gpu,
            )  # fmt: skip
            found.append(entrant)
        if len(templates) > 1:
            self._warn(
                "other_templates",
                "The candidates' prompts are written by different templates or tokenizers: part of a difference may "
                "come from there.",
            )
        self.settings |= {"seed": self._spec.seed, "repeats": self._spec.asked_times}
        self.settings["template"] = ",".join(sorted(templates))
        return found

    def _is_exact(self, document: CandidateDocument) -> bool:
        return not self._use_gpu and TrainSpec.stored(document.training).precision == "fp32"

    def _mark_seen(self) -> None:
        """Say which samples stand in the training rows."""
        whole, parts = mark_seen(self.entrants, self.samples, self._work.check)
        if whole:
            self._warn(
                "samples_seen",
                f"Samples that stand in the training rows: {whole} of {len(self.samples)}. They are marked, and count "
                "for no recommendation.",
            )
        if parts:
            self._warn(
                "samples_seen_in_part",
                f"Samples of whose expected answer a long part stands in the training rows: {parts}. They count.",
            )

    def _forecast(self) -> None:
        total = sum(len(one.wanted) for one in self.entrants)
        cached = sum(one.cached for one in self.entrants)
        _log.info(
            "%d candidates, %d samples: %d answers of at most %d tokens; %d are known already, %d are to be computed.",
            len(self.entrants), len(self.samples), total, self._spec.max_new_tokens, cached, total - cached,
        )  # fmt: skip
        for entrant in self.entrants:
            self._work.outlet.emit(entrant.standing())
        self._progress.report(self.entrants)

    def _leave_out_what_changes_nothing(self) -> None:
        """Ask of each adapter whether it changes any logit of its base; what does not is no candidate.

        Raises:
            InvalidModel: None does.
        """
        asked = [one for one in self.entrants if not one.document.candidate.is_base and not one.is_whole]
        if not asked or self._sorts:  # a head that was made anew is another in each run
            return
        order = {
            "documents": [self._handed(one) for one in asked],
            "samples": [one.model_dump_json() for one in self.samples],
            "count": _EFFECT_SAMPLES,
            "max_new_tokens": self._spec.max_new_tokens,
            "scratch": str(self._work.scratch),
        }
        ((_, found),) = spread(self._fan, iter([("effects", shard.effects, order)]), self._work.check)
        without = [one for one, effect in zip(asked, found, strict=True) if effect == 0.0]
        names = ", ".join(f"`{one.document.candidate.label}`" for one in without)
        if without and len(without) == sum(not one.document.candidate.is_base for one in self.entrants):
            raise InvalidModel(
                f"{names}: changes no logit of the base on {_EFFECT_SAMPLES} samples. There is nothing to "
                "compare.",
                hint="Was it trained? Look at its loss and its learning rate.",
            )
        if without:
            self.entrants = [one for one in self.entrants if one not in without]
            self._warn(
                "without_effect",
                f"Left out, for it changes no logit of the base: {names}.",
            )

    def _in_spite_of_removals(self, work: Callable[[], None]) -> None:
        """Do some work; where it failed and its training has removed a checkpoint meanwhile, again without that one.

        Raises:
            InvalidModel: No candidate is left.
            Exception: What the work raised, and no removal is to blame.
        """
        while True:
            try:
                return work()
            except (Stopped, Lost):
                raise
            except Exception:
                gone = [one for one in self.entrants if not one.is_whole and is_removed(one.document)]
                if not gone:
                    raise
                self.entrants = [one for one in self.entrants if one not in gone]
                self._note_removed([one.document for one in gone], [one.document for one in self.entrants])

    def _note_removed(self, gone: Sequence[CandidateDocument], left: Sequence[CandidateDocument]) -> None:
        """Say which candidates are left out because their training removed them.

        Raises:
            InvalidModel: They were all there were.
        """
        if not gone:
            return
        names = ", ".join(f"`{one.candidate.label}`" for one in gone)
        if all(one.candidate.is_base for one in left):
            raise InvalidModel(
                f"{names}: removed by the training before it could be evaluated.",
                hint="Take another checkpoint; the training keeps more with a higher `save_total_limit`.",
                field="checkpoints",
            )
        self._warn(
            "checkpoint_removed",
            f"Left out, for the training has removed it meanwhile: {names}.",
        )

    # --- answers

    @property
    def _answers(self) -> Callable[[dict[str, Any]], Any]:
        """What has a shard computed."""
        return classing.run if self._sorts else shard.run

    def _ask(self) -> None:
        """Have every missing answer computed, and score each candidate when it is whole."""
        for entrant in self.entrants:
            if entrant.is_whole:
                self._score(entrant)
        self._progress.begin()
        self._progress.report(self.entrants)  # some may have been left out since
        known = {key: answer for one in self.entrants for key, answer in one.answers.known.items()}
        shards = shards_of([one.wanted for one in self.entrants], known)
        total = sum(len(one.wanted) for one in self.entrants)
        with self._work.outlet.activities.doing(ActivityKind.ANSWERING, Unit.ROWS, total) as doing:
            doing.done = sum(one.answered for one in self.entrants)
            orders = ((one, self._answers, self._order(one)) for one in shards)
            for one, made in spread(self._fan, orders, self._work.check):
                entrant = self.entrants[one.candidate]
                entrant.add(from_json(made["answers"]))
                entrant.seconds += made["seconds"]
                self._progress.computed(entrant, len(one.wanted))
                self._varies = self._varies or made["precision"] != "fp32"
                doing.done = sum(each.answered for each in self.entrants)
                self._progress.report(self.entrants)
                if entrant.is_whole:
                    self._score(entrant)

    def _ask_alone(self) -> None:
        """Find how many answers of one candidate are other texts at batch 1: in 16 bits sums come out otherwise there.

        Where nothing was computed now, it is told from answers that are kept, and no model is loaded for it.
        """
        order = [one for one in self.entrants if not one.document.candidate.is_base] or self.entrants
        entrant = order[0]
        missing = tuple(one for one in entrant.alone if one.key not in entrant.answers.known)
        if missing and self._varies and sum(len(one.wanted) for one in self.entrants) >= _ALONE_OF:
            some = Shard(self.entrants.index(entrant), 0, missing)
            order_alone = self._order(some) | {"batch_size": 1}
            # What the candidate before answered would be looked at in one pass: not what batch 1 would do.
            order_alone["questions"] = [(*question[:3], None) for question in order_alone["questions"]]
            try:
                ((_, made),) = spread(self._fan, iter([(some, self._answers, order_alone)]), self._work.check)
            except (Stopped, Lost):
                raise
            except Exception:
                if is_removed(entrant.document):
                    return  # its training removed it: its answers are there, and this is not told
                raise
            entrant.answers.add(from_json(made["answers"]))
        alone = entrant.heard(entrant.alone)
        if len(alone) == len(entrant.alone):
            self._batch_disagreement = batch_disagreement(entrant.heard(), alone)

    def _handed(self, entrant: Entrant) -> str:
        document = self._document.of(entrant.document).model_copy(update={"token": ""})
        return document.model_dump_json()

    def _order(self, one: Shard) -> dict[str, Any]:
        drafts = self._drafts(one)
        return {
            "document": self._handed(self.entrants[one.candidate]),
            "questions": [
                (asking.sample.model_dump_json(), asking.key, asking.seed, draft)
                for asking, draft in zip(one.wanted, drafts, strict=True)
            ],
            "how": {name: value for name, value in self.settings.items() if name in shard.HOW},
            "batch_size": self._spec.per_device_eval_batch_size,
            "scratch": str(self._work.scratch),
        }

    def _drafts(self, one: Shard) -> list[list[int] | None]:
        """What the candidate before answered: the likeliest guess at what this one will."""
        if self._spec.draws:
            return [None] * len(one.wanted)
        before = self.entrants[: one.candidate][::-1]
        return [
            next((known.tokens for each in before if (known := each.answer_to(asking)) is not None), None)
            for asking in one.wanted
        ]

    # --- what is said

    def _score(self, entrant: Entrant) -> None:
        entrant.result = self._scorer.score(
            entrant.document.candidate, entrant.heard(), seen=entrant.seen, seconds=entrant.seconds
        )
        self._work.outlet.emit(entrant.standing())

    def _warn(self, code: str, message: str) -> None:
        self._warnings.append(Text(en=message, zh=tr(message, Language.ZH)))
        self._work.outlet.emit(Warned(code=code, message=message))

    def _finish(self, *, is_partial: bool) -> str:
        results = [one.result for one in self.entrants if one.result is not None]
        made = EvaluationResult(
            task_id=self._document.task_id,
            name=self._document.name,
            samples=tuple(self.samples),
            settings=self.settings,
            candidates=tuple(results),
            warnings=tuple(self._warnings),
            batch_disagreement=self._batch_disagreement,
            sorts=self._sorts,
            benchmarked_by=self._further.benchmarked_by,
        )
        each = self._progress.seconds_an_answer
        return finish(self._work, self._spec, made, self._scorer, is_partial=is_partial, answer_seconds=each)


def _is_classifier(document: CandidateDocument) -> bool:
    return TrainSpec.stored(document.training).training_type == "classification"


def compare(work: Work, spec: EvaluateSpec, fan: Fan, *, use_gpu: bool) -> Outcome:
    """Compare candidates; whatever goes wrong, what was answered is kept.

    Raises:
        TunesmithError: Something that was given cannot be used.
    """
    comparison = Comparison(work, spec, fan, use_gpu=use_gpu)
    try:
        return comparison.run()
    except Lost as error:
        return error.outcome
    finally:
        comparison.close()
