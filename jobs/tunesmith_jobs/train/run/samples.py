"""A few fixed prompts, answered by the model while it trains: what it writes, beside what it measures.

Greedy, by the first worker alone, in bounded time, and with the random states as they were: the run's numbers are the
same with and without. Whatever goes wrong is a warning, and no prompt is answered any more. Knows transformers'
`generate` and how prompts are written; knows nothing of when they are answered.
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from tunesmith.errors import TunesmithError
from tunesmith.events import SampleAnswer, SamplesAnswered, Warned
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.prompts import PromptEncoder
from tunesmith.rows.chat.turns import Message
from tunesmith.rows.tokens.tokenizer_file import load_tokenizer
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.models.build import pad_id
from tunesmith_jobs.models.generation_settings import is_chat
from tunesmith_jobs.models.prompting import stop_ids
from tunesmith_jobs.train.run.interruption import keeping_random_states

MOST_SECONDS = 60.0
"""What all answers of one step may take; after that no more are made in this run."""
_ALL = 2**31 - 1
_log = logging.getLogger("tunesmith_jobs.train.samples")


class _Until(StoppingCriteria):  # type: ignore[misc]
    """Ends the answers when their time is over, or a stop is wanted."""

    def __init__(self, moment: float, is_over: Callable[[], bool]) -> None:
        self._moment, self._is_over = moment, is_over
        self.has_cut = False

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        self.has_cut = self.has_cut or time.monotonic() > self._moment or self._is_over()
        return torch.full((len(input_ids),), self.has_cut, dtype=torch.bool, device=input_ids.device)


class SamplePrompts:
    """The prompts of a run.

    Args:
        spec: The parameters.
        folder: The model's folder.
        tokenizer: Another folder whose tokenizer is used instead.
    """

    def __init__(self, spec: TrainSpec, folder: Path | None, tokenizer: Path | None) -> None:
        self._spec, self._folder, self._tokenizer = spec, folder, tokenizer
        self._ids: list[list[int]] | None = None
        self._stops: list[int] = []
        self._text: Callable[[Sequence[int]], str] = str
        self._is_off = not spec.sample_prompts or folder is None or spec.training_type == "classification"
        self._answered_at: int | None = None

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._spec.sample_prompts or ())

    def is_due(self, step: int) -> bool:
        """Whether they are to be answered at a step; once, whatever else falls on it."""
        return not self._is_off and self._answered_at != step

    def answer(
        self, model: Any, step: int, computing: Any, is_over: Callable[[], bool], *, stage: int = 0
    ) -> SamplesAnswered | Warned | None:
        """What the model writes at a step.

        Args:
            model: As it trains; its modes are put back.
            step: How many steps it has taken.
            computing: A context in which the model computes as it does in training.
            is_over: Whether the run is to stop.
            stage: Of ZeRO.

        Returns:
            The answers; or why there are none any more; None where the run is to stop.
        """
        self._answered_at = step
        if stage == 3 or self._spec.torch_compile:
            why = "ZeRO 3 shares out the weights" if stage == 3 else "each length would be compiled anew"
            self._is_off = True
            return Warned(code="samples_failed", message=f"The sample prompts are not answered: {why}.")
        began = time.monotonic()
        try:
            with keeping_random_states():
                made, has_cut = self._made(model, computing, is_over)
        except Exception as error:  # a library's, a template's, too little memory: it must not end a training
            self._is_off = True
            _log.debug("the sample prompts failed", exc_info=True)
            words = error.message if isinstance(error, TunesmithError | RowProblem) else f"{error}"
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            return Warned(
                code="samples_failed",
                message=f"The sample prompts could not be answered, and are asked no more: {words}"[:2000],
                hint="Training goes on.",
            )
        if is_over():
            return None
        seconds = time.monotonic() - began
        if has_cut:
            self._is_off = True
            return Warned(
                code="samples_slow",
                message=f"The answers to the sample prompts took more than {MOST_SECONDS:.0f} s, and are made no more.",
                hint="Lower `sample_max_new_tokens`, or give fewer `sample_prompts`. Training goes on.",
            )
        return SamplesAnswered(step=step, answers=made, seconds=seconds)

    def _made(
        self, model: Any, computing: Any, is_over: Callable[[], bool]
    ) -> tuple[list[SampleAnswer], bool]:
        if self._ids is None:
            self._ids = self._encoded(model)
        longest, pad = max(map(len, self._ids)), pad_id(model)
        device = next(model.parameters()).device
        # On the left: an answer goes on where its prompt ends.
        ids = torch.tensor([[pad] * (longest - len(one)) + one for one in self._ids], device=device)
        mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in self._ids], device=device)
        until = _Until(time.monotonic() + MOST_SECONDS, is_over)
        settings = GenerationConfig(
            max_new_tokens=self._spec.sample_max_new_tokens,
            do_sample=False,
            pad_token_id=pad,
            eos_token_id=self._stops or None,
        )
        was_training = model.training
        model.eval()
        # What is left open would be filled in from the model's own, which may draw, forbid or repeat.
        own = [model, model.get_base_model()] if hasattr(model, "peft_config") else [model]
        before = [one.generation_config for one in own]
        for one in own:
            one.generation_config = settings
        try:
            with torch.no_grad(), computing:
                found = model.generate(
                    input_ids=ids, attention_mask=mask, generation_config=settings,
                    stopping_criteria=StoppingCriteriaList([until]),
                )  # fmt: skip
        finally:
            for one, kept in zip(own, before, strict=True):
                one.generation_config = kept
            model.train(was_training)
        made = []
        assert self._spec.sample_prompts is not None
        for prompt, tokens in zip(self._spec.sample_prompts, found[:, longest:].tolist(), strict=True):
            end = next((i for i, token in enumerate(tokens) if token in self._stops), None)
            made.append(
                SampleAnswer(
                    prompt=prompt,
                    text=self._text(tokens[:end]),
                    finish_reason="length" if end is None else "stop",
                )
            )
        return made, until.has_cut

    def _encoded(self, model: Any) -> list[list[int]]:
        """The prompts as the run's rows are written: a question of a conversation, or a text that goes on."""
        spec, prompts = self._spec, self._spec.sample_prompts or []
        assert self._folder is not None
        if is_chat(spec, self._folder, self._tokenizer):
            own = str(self._tokenizer) if self._tokenizer else None
            encoder = PromptEncoder.from_folder(
                self._folder, _ALL, tokenizer=own, chat_template=spec.chat_template
            )
            self._stops, self._text = sorted(stop_ids(model, encoder)), encoder.text
            found = [encoder.prompt([Message("user", prompt)]) for prompt in prompts]
        else:
            tokenizer = load_tokenizer(self._tokenizer or self._folder)
            end = getattr(model.config, "eos_token_id", None)
            self._stops = [one for one in (end if isinstance(end, list) else [end]) if isinstance(one, int)]
            self._text = lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=True))
            found = [list(tokenizer.encode(prompt).ids) for prompt in prompts]
        context = getattr(model.config, "max_position_embeddings", None)
        most = max(map(len, found)) + spec.sample_max_new_tokens
        if context is not None and most > context:
            raise RowProblem(
                f"{most} tokens of a prompt and its answer are more than the {context} that the model reads."
            )
        return found
