"""One base in memory, and one candidate after another over it that answers and is measured.

Knows when which way of computing is right; knows nothing of tasks or scores.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tunesmith.model_step import ModelDocument
from tunesmith.rows.chat.prompts import PromptEncoder
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.evaluate.engine import alone
from tunesmith_jobs.evaluate.engine.candidates import Candidates
from tunesmith_jobs.evaluate.engine.sampling import Draw, Made, Sampling
from tunesmith_jobs.evaluate.engine.scheduling import AnswerRow, PairRow, run
from tunesmith_jobs.evaluate.engine.tiles import Shapes, Tiles
from tunesmith_jobs.evaluate.engine.trial import shapes_of
from tunesmith_jobs.models.loading import UsedModel
from tunesmith_jobs.models.prompting import prompt_encoder, stop_ids

_EFFECT_PLACES = 4
"""Places at the end of a prompt at which logits are compared."""


class Engine:
    """Generates answers of candidates and measures likelihoods.

    Made by `Engine.of`; `use` takes another candidate. Of whole models at most one is in memory.
    """

    def __init__(self, scratch: Path) -> None:
        self._candidates = Candidates(scratch)
        self._used: UsedModel | None = None
        self._document: ModelDocument | None = None
        self._stops: frozenset[int] = frozenset()
        self._tiles: Tiles | None = None
        self._tried: list[tuple[Any, Shapes | None]] = []
        """What trials of tiles were of, and what came of them."""
        self._encoder: tuple[Any, PromptEncoder] | None = None
        self._plain: tuple[Any, list[torch.Tensor]] | None = None
        """Logits of a base on prompts, with what tells both."""

    @classmethod
    def of(cls, document: ModelDocument, scratch: Path) -> "Engine":
        """An engine with a candidate loaded.

        Args:
            document: Names the candidate, as for every job that uses a model.
            scratch: Takes copies of what lies in a storage elsewhere.

        Raises:
            InvalidModel: It cannot be loaded, or has no chat template.
            InvalidInput: The adapter does not fit its base, or a package is missing.
        """
        engine = cls(scratch)
        engine.use(document)
        return engine

    @property
    def used(self) -> UsedModel:
        """The candidate's model."""
        assert self._used is not None
        return self._used

    @property
    def stops(self) -> frozenset[int]:
        """The tokens that end an answer of the candidate."""
        return self._stops

    @property
    def loads(self) -> int:
        """How many times a base or a whole model was read from its files."""
        return self._candidates.loads

    def use(self, document: ModelDocument) -> None:
        """Take another candidate; what it gives equals what an engine of its own would give.

        Raises:
            InvalidModel: It cannot be loaded, or has no chat template.
            InvalidInput: The adapter does not fit its base, or a package is missing.
        """
        if self._document is not None and _model_of(document) == _model_of(self._document):
            return
        self._used = self._document = self._tiles = None
        encoder = self._encoder_of(document)
        used = self._candidates.use(document)
        self._stops = frozenset(stop_ids(used.model, encoder))
        self._tiles = self._tiles_of(used)
        self._used, self._document = used, document

    def _encoder_of(self, document: ModelDocument) -> PromptEncoder:
        """Candidates of one training share theirs: reading a tokenizer takes as long as merging an adapter."""
        template = TrainSpec.stored(document.training).chat_template
        told_by = document.encoder_path, document.tokenizer_path, template
        if self._encoder is None or self._encoder[0] != told_by:
            self._encoder = told_by, prompt_encoder(document, template)
        return self._encoder[1]

    def _tiles_of(self, used: UsedModel) -> Tiles | None:
        with torch.no_grad(), used.autocast():
            if used.is_adapter or self._candidates.key is None:  # modules of its own
                shapes = shapes_of(used)
            else:
                told_by = used.choice, _built_by(used.model)
                known = [shapes for other, shapes in self._tried if other == told_by]
                shapes = known[0] if known else shapes_of(used)
                if not known:
                    self._tried.append((told_by, shapes))
        return None if shapes is None else Tiles(used, shapes)

    @property
    def is_exact(self) -> bool:
        """Whether no sample's result depends on its neighbours, to the last bit: always so in fp32."""
        return self._tiles is None or self._tiles.shapes.is_exact

    @property
    def is_tiled(self) -> bool:
        """Whether samples are computed beside each other; else one after the other."""
        return self._tiles is not None

    def answer(
        self,
        prompts: Sequence[Sequence[int]],
        how: Sampling,
        drafts: Sequence[Sequence[int] | None] | None = None,
    ) -> list[Made]:
        """The candidate's answers.

        Args:
            prompts: Tokens that are answered; none is empty.
            how: How tokens are drawn.
            drafts: What each answer may be, such as another candidate's: a guess that is verified and changes no
                answer, and is passed over where it could (`is_exact`). Tokens without the one that ends an answer.
        """
        draws = [
            Draw(how, prompt, how.seeds[place] if how.temperature > 0 else 0)
            for place, prompt in enumerate(prompts)
        ]
        with torch.no_grad(), self.used.autocast():
            if self._tiles is not None:
                guesses = drafts if drafts and self.is_exact else [None] * len(prompts)
                rows = [
                    AnswerRow(prompt, draw, how.max_new_tokens, self._stops, draft)
                    for prompt, draw, draft in zip(prompts, draws, guesses, strict=True)
                ]
                run(self._tiles, rows, how.batch_size)
                return [row.made for row in rows]
            return [
                alone.answer(self.used.model, prompt, how, draw, self._stops)
                for prompt, draw in zip(prompts, draws, strict=True)
            ]

    def likelihoods(
        self,
        pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
        batch_size: int,
    ) -> list[float]:
        """How unlikely the candidate finds the second of each pair after the first: summed, in nats.

        Args:
            pairs: Prompt and answer, in tokens.
            batch_size: Pairs that are measured at once.
        """
        with torch.no_grad(), self.used.autocast():
            if self._tiles is not None:
                rows = [PairRow(first, second) for first, second in pairs]
                run(self._tiles, rows, batch_size)
                return [row.loss for row in rows]
            return [alone.likelihood(self.used.model, first, second) for first, second in pairs]

    def effect(self, prompts: Sequence[Sequence[int]], count: int = 8) -> float:
        """The greatest absolute difference of the candidate's logits from its base's, over the first prompts.

        0: the adapter changes nothing at all. Also 0 where the candidate is no adapter.
        """
        document = self._document
        assert document is not None
        if not TrainSpec.stored(document.training).use_lora:
            return 0.0
        chosen = [list(prompt) for prompt in prompts[:count]]
        tuned = [self._logits(prompt) for prompt in chosen]
        base = _base_of(document)
        told_by = self._candidates.key or _model_of(base), chosen
        if self._plain is None or self._plain[0] != told_by:
            self.use(base)
            try:
                self._plain = told_by, [self._logits(prompt) for prompt in chosen]
            finally:
                self.use(document)
        pairs = zip(tuned, self._plain[1], strict=True)
        return max((float((one - other).abs().max()) for one, other in pairs), default=0.0)

    def _logits(self, prompt: Sequence[int]) -> torch.Tensor:
        with torch.no_grad(), self.used.autocast():
            return alone.last_logits(self.used.model, prompt, _EFFECT_PLACES)


def _model_of(document: ModelDocument) -> Any:
    """What of a document decides the model and how its answers end."""
    return document.model_uri, document.training, document.encoder_path, document.tokenizer_path


def _built_by(model: Any) -> Any:
    """What decides how a model computes, whatever its weights are."""
    config = {name: value for name, value in model.config.to_dict().items() if name != "_name_or_path"}
    return type(model), config, model.config._attn_implementation


def _base_of(document: ModelDocument) -> ModelDocument:
    """The document of an adapter's base, in the format that the adapter's training held it in."""
    training = document.training | {"attach_lora": False, "attach_lora_path": None}
    if training.get("load_in_4bit") or training.get("load_in_8bit"):
        # Few bits are there for adapters alone, whose start changes formats too: a new LoRA adds nothing.
        training |= {"peft_config_path": None, "use_dora": False, "bias": "none"}
    else:
        training |= {"use_lora": False}
    base = TrainSpec.stored(document.training).model_name_or_path
    return document.model_copy(update={"model_uri": str(base), "training": training})
