"""Prompts answered by a model, several at once; the answers are rows of `messages` in a file.

A conversation of several turns is replayed: each question is asked after the model's own answers to those before it.
Knows torch and transformers' `generate`; knows nothing of who asks.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from tunesmith.activity import ActivityKind, Unit
from tunesmith.artifacts import sha256_of
from tunesmith.errors import InvalidData
from tunesmith.events import DatasetMade, Phase
from tunesmith.lifecycle import Reason
from tunesmith.outcome import Outcome
from tunesmith.removal import claim, lay, lies_in_own, require_place, staged
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.prompts import PromptEncoder, asked_rows
from tunesmith.rows.chat.turns import Message
from tunesmith.spec.generate import GenerateSpec
from tunesmith_jobs.model_work import Work
from tunesmith_jobs.models import build as models
from tunesmith_jobs.models.loading import UsedModel, load
from tunesmith_jobs.models.prompting import prompt_encoder, stop_ids

_FILE = "data.jsonl"


@dataclass
class _Talk:
    """A conversation that is being had."""

    row: int
    place: str
    left: list[Message]
    """The turns that are still to be said."""
    said: list[Message] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    """Why each answer ended: `stop`, or `length`."""

    def ask(self) -> bool:
        """Say what comes up to the next question; False when there is none."""
        while self.left:
            turn = self.left.pop(0)
            self.said.append(turn)
            if turn.role == "user":
                return True
        return False

    def as_row(self) -> dict[str, Any]:
        """What is written of it."""
        turns = [{"role": turn.role, "content": turn.content} for turn in self.said]
        return {"messages": turns, "row": self.row, "finish_reasons": self.ends}


class _Heard(StoppingCriteria):  # type: ignore[misc]
    """Ends an answer's making when the user wants the task stopped."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        self._work.check()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


class Answerer:
    """Answers conversations with a loaded model.

    Args:
        used: The model.
        encoder: Writes conversations as its training wrote them.
        spec: How to draw tokens.
        work: Told of a stop.
    """

    def __init__(self, used: UsedModel, encoder: PromptEncoder, spec: GenerateSpec, work: Work) -> None:
        self._used, self._encoder, self._spec = used, encoder, spec
        self._context = getattr(used.model.config, "max_position_embeddings", None)
        self._pad = models.pad_id(used.model)
        self._stops = stop_ids(used.model, encoder)
        self._criteria = StoppingCriteriaList([_Heard(work)])
        # Made anew: a model's own settings may draw, forbid or repeat tokens without being asked.
        drawn = {"temperature": spec.temperature, "top_p": spec.top_p, "top_k": 0} if spec.temperature else {}
        self._settings = GenerationConfig(
            max_new_tokens=spec.max_new_tokens,
            do_sample=spec.temperature > 0,
            pad_token_id=self._pad,
            eos_token_id=sorted(self._stops) or None,
            **drawn,
        )
        # What is left open would be filled in from the model's.
        for model in (used.model, used.model.get_base_model() if used.is_adapter else used.model):
            model.generation_config = self._settings

    def prompt(self, talk: _Talk) -> list[int]:
        """The tokens of a conversation up to its next answer.

        Raises:
            InvalidData: It cannot be written, or leaves no room for an answer.
        """
        try:
            ids = self._encoder.prompt(talk.said)
        except RowProblem as problem:
            raise InvalidData(f"{talk.place}: {problem.message}", hint=problem.hint) from problem
        if self._context is not None and len(ids) + self._spec.max_new_tokens > self._context:
            raise InvalidData(
                f"{talk.place}: {len(ids)} tokens and {self._spec.max_new_tokens} of an answer are more than the "
                f"{self._context} that the model reads.",
                hint="Lower `max_new_tokens`, or shorten the conversation.",
            )
        return ids

    def answer(self, talks: Sequence[_Talk]) -> None:
        """Answer the last question of each of some conversations."""
        prompts = [self.prompt(talk) for talk in talks]
        longest = max(map(len, prompts))
        # On the left: an answer goes on where its prompt ends.
        ids = torch.tensor([[self._pad] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        with torch.no_grad(), self._used.autocast():
            made = self._used.model.generate(
                input_ids=ids.to(self._used.device),
                attention_mask=mask.to(self._used.device),
                generation_config=self._settings,
                stopping_criteria=self._criteria,
            )
        for talk, tokens in zip(talks, made[:, longest:].tolist(), strict=True):
            end = next((i for i, token in enumerate(tokens) if token in self._stops), None)
            talk.ends.append("length" if end is None else "stop")
            talk.said.append(Message("assistant", self._encoder.text(tokens[:end])))


def generate(work: Work, spec: GenerateSpec) -> Outcome:
    """Answer the prompts, and leave the answers in a file.

    Raises:
        InvalidData: A row asks nothing, or cannot be answered.
        InvalidModel: The model cannot be loaded, or has no chat template.
    """
    document = work.document
    assert document.rows_dir is not None
    encoder = prompt_encoder(document, work.training.chat_template)
    total = len(spec.prompts) if spec.prompts is not None else sum(1 for _ in _talks(work, spec))
    work.phase_done(Phase.DATA)
    used = load(document, work.training, work.scratch, is_measured=False)
    work.phase_done(Phase.WEIGHTS)
    answerer = Answerer(used, encoder, spec, work)
    torch.manual_seed(spec.seed)
    began = time.perf_counter()
    target = Path(document.rows_dir)
    is_given = lies_in_own(target)  # see `data.operations.run`
    require_place(target, document.task_id, unfinished=is_given)
    target.parent.mkdir(parents=True, exist_ok=True)
    done = answers = 0
    work.report(done, total)
    with staged(target, document.task_id) as part:
        claim(part, document.task_id)
        with (
            work.outlet.activities.doing(ActivityKind.ANSWERING, Unit.ROWS, total) as doing,
            (part / _FILE).open("w", encoding="utf-8") as file,
        ):
            for talks in _batches(_talks(work, spec), spec.per_device_eval_batch_size):
                while asking := [talk for talk in talks if talk.ask()]:
                    answerer.answer(asking)
                    answers += len(asking)
                for talk in talks:
                    file.write(json.dumps(talk.as_row(), ensure_ascii=False) + "\n")
                done += len(talks)
                doing.done = done
                work.report(done, total)
        lay(part, target, document.task_id, unfinished=is_given)
    path = target / _FILE
    work.outlet.emit(
        DatasetMade(
            output="data",
            path=str(path),
            file_name=_FILE,
            rows=done,
            bytes=path.stat().st_size,
            sha256=sha256_of(path),
            columns=["messages", "row", "finish_reasons"],
            rows_hold="conversation",
        )
    )
    seconds = time.perf_counter() - began
    return Outcome.because(Reason.COMPLETED, f"{answers} answers in {seconds:.1f} s, in `{path}`.")


def _talks(work: Work, spec: GenerateSpec) -> Iterator[_Talk]:
    if spec.prompts is not None:
        asked = (
            (n, f"prompts[{n - 1}]", [Message("user", text)]) for n, text in enumerate(spec.prompts, start=1)
        )
    else:
        file = Path(str(work.document.data_path))
        asked = (
            (one.row, f"{file.name}:{one.row}", one.turns) for one in asked_rows(file, spec.prompt_column)
        )
    for row, place, turns in asked:
        head = []
        if spec.system_prompt and turns[0].role != "system":
            head = [Message("system", spec.system_prompt)]
        yield _Talk(row, place, [*head, *turns])


def _batches(talks: Iterator[_Talk], size: int) -> Iterator[list[_Talk]]:
    batch: list[_Talk] = []
    for talk in talks:
        batch.append(talk)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
