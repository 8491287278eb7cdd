"""What the attempts of a proof do: hold what llama.cpp computes of a served model against the model itself.

Works in the driver's own process and reserves nothing, at the lowest priority, and gives way to answers: a proof is
never waited for. What comes of it is kept on the node by what it is about, so that it is computed once, whoever asks.
Importing this imports no Ray, no torch and no web server: drivers of all kinds may.
"""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from tunesmith.activity import ActivityKind, Unit
from tunesmith.chat.document import ProveDocument
from tunesmith.chat.proof import ENGINE, ProofState
from tunesmith.chat.wire import Ask, Message, ServedModel
from tunesmith.errors import NotConvertible
from tunesmith.events import ModelProven, Phase
from tunesmith.lifecycle import Reason
from tunesmith.model_folder.identity import weights_of
from tunesmith.model_step import ModelDocument
from tunesmith.outcome import Outcome
from tunesmith.removal import claim, new_file
from tunesmith.spec.model_task import ModelUseSpec
from tunesmith_jobs.model_work import ModelProgram, Work
from tunesmith_jobs.models.busy import GivingWay
from tunesmith_jobs.outlet import Outlet
from tunesmith_jobs.program import WorkerContext
from tunesmith_serve.engine import F16, TRANSFORMERS

if TYPE_CHECKING:
    from tunesmith_jobs.models.gguf_proof.proof import Check, Proof
    from tunesmith_jobs.models.gguf_proof.prover import Prover

_VERSION = 1
"""Rises when a proof looks at something else: what was found before is then found anew."""
_OWNER = "tunesmith-proofs"
_LOWEST = 19


class _Files(NamedTuple):
    base: Path
    lora: Path | None


class Proving(ModelProgram):
    """See the module."""

    document = ProveDocument
    function = "tunesmith_serve.proving:prove"

    def needs(self, document: ModelDocument) -> None:
        """See `Program.needs`: the driver does it."""

    def work(self, document: ModelDocument, outlet: Outlet, context: WorkerContext) -> Outcome:
        """See `Program.work`."""
        os.nice(_LOWEST - os.nice(0))  # of this thread, and of all that it starts
        return super().work(document, outlet, context)


def prove(work: Work, _: ModelUseSpec) -> Outcome:
    """Prove a model, or take the proof that was found before.

    Raises:
        InvalidModel: It cannot be loaded.
    """
    document = cast(ProveDocument, work.document)
    work.scratch.mkdir(parents=True, exist_ok=True)
    give_way = GivingWay(Path(document.cache_dir), work.check)
    give_way()
    found = _Proving(work, give_way).run()
    work.outlet.emit(found)
    return Outcome.because(Reason.COMPLETED, found.words["en"])


class _Proving:
    """One attempt."""

    def __init__(self, work: Work, give_way: GivingWay) -> None:
        self._work, self._give_way = work, give_way
        self._document = cast(ProveDocument, work.document)
        self._cache = Path(self._document.cache_dir)
        self._conversations = 0

    def run(self) -> ModelProven:
        """What is found."""
        from tunesmith_jobs.models.llama_cpp import version
        from tunesmith_serve.choosing import not_llama_cpp

        model = self._model()
        if (why := not_llama_cpp(Path(model.base_path))) is not None or self._is_quantised():
            return self._same_engine(why or "It was trained over a quantised base.")
        try:
            files = self._files(model)
        except NotConvertible as error:  # then chats answer with the library too
            return self._same_engine(error.message)
        self._work.phase_done(Phase.WEIGHTS)
        kept = self._kept(files, version())
        if kept is not None:
            return kept
        found = self._prove(model, files)
        made = self._made(found, version())
        if made.state in (ProofState.PROVEN, ProofState.FAILED):
            self._keep(files, made)
        return made

    def _is_quantised(self) -> bool:
        return self._work.training.load_in_4bit or self._work.training.load_in_8bit

    def _model(self) -> ServedModel:
        """The model as chats name it."""
        from tunesmith.model_folder import ADAPTER_CONFIG
        from tunesmith_jobs.models.fetch import fetch_model

        document = self._document
        folder = fetch_model(document.model_uri, self._work.scratch / "given")
        is_adapter = (folder / ADAPTER_CONFIG).is_file()
        return ServedModel(
            name=document.origin.task_name or document.name,
            weights=weights_of(folder, is_saved=document.origin.task_id is not None),
            model_uri=str(folder),
            base_path=str(self._work.training.model_name_or_path) if is_adapter else str(folder),
            is_adapter=is_adapter,
            training=document.training,
            encoder_path=document.encoder_path,
            tokenizer_path=document.tokenizer_path,
        )

    def _files(self, model: ServedModel) -> _Files:
        """The very files that chats answer with; they are made where they are not there."""
        from tunesmith_serve.gguf_files import GgufFiles

        files = GgufFiles(self._cache, self._work.scratch)

        def said(words: str) -> None:
            self._give_way()

        base = files.model(Path(model.base_path), said)
        return _Files(base, files.adapter(model, said) if model.is_adapter else None)

    def _prove(self, model: ServedModel, files: _Files) -> "Proof":
        from tunesmith.gguf import FileType
        from tunesmith_jobs.models.generation_settings import is_chat
        from tunesmith_jobs.models.gguf_proof.proof import concluded
        from tunesmith_jobs.models.gguf_proof.prover import Prover, Subject

        encoder, own = Path(model.encoder_path), model.tokenizer_path
        tokenizer = Path(own) if own else None
        subject = Subject(
            base=Path(model.base_path),
            adapter=Path(model.model_uri) if model.is_adapter else None,
            encoder=encoder,
            tokenizer=tokenizer,
            training=self._work.training,
            is_chat=is_chat(self._work.training, encoder, tokenizer),
            takes_tokens=True,
        )
        prover = Prover(
            subject,
            self._work.scratch,
            self._give_way,
            threads=len(os.sched_getaffinity(0)),
            busy=self._cache,
        )
        with self._work.outlet.activities.doing(ActivityKind.PROVING, Unit.FILES, 1) as doing:
            found = prover.prove(files.base, FileType(F16), files.lora)
            found.checks += self._prompts(model, prover)
            doing.advance()
        self._conversations = len(prover.conversations)
        return concluded(found.model_copy(update={"file": self._name(model)}))

    def _name(self, model: ServedModel) -> str:
        step = self._document.step
        return f"{model.name}:{step}" if step else model.name

    def _prompts(self, model: ServedModel, prover: "Prover") -> "list[Check]":
        """Whether chats write conversations as the training wrote its rows: by the process that writes prompts."""
        from tunesmith_jobs.models.gguf_proof import checks
        from tunesmith_serve.prompts import Prompts

        expected = prover.conversations
        if not expected:
            return []

        async def written() -> list[list[int]]:
            prompts = Prompts(self._cache)
            try:
                return [
                    (
                        await prompts.write(
                            Ask(
                                id="proof",
                                model=model,
                                messages=[Message.model_validate(turn) for turn in turns],
                            )
                        )
                    ).ids
                    for turns, _ in expected
                ]
            finally:
                await prompts.close()

        made = asyncio.run(written())
        wrong = [place for place, (_, ids) in enumerate(expected) if made[place] != ids]
        return [checks.check_prompts(wrong, len(expected))]

    # --- what comes of it

    def _made(self, proof: "Proof", version: str) -> ModelProven:
        states = {
            "proven": ProofState.PROVEN,
            "failed": ProofState.FAILED,
            "not_proven": ProofState.UNPROVEN,
        }
        apart = proof.difference
        return ModelProven(
            engine=ENGINE,
            version=version,
            file_type=F16,
            state=states[proof.verdict],
            words=proof.sentence,
            kl_mean=apart.kl_mean if apart else None,
            kl_p99=apart.kl_p99 if apart else None,
            top1=apart.top1 if apart else None,
            tokens=apart.tokens if apart else 0,
            conversations=self._conversations,
        )

    def _same_engine(self, why: str) -> ModelProven:
        return ModelProven(
            engine=TRANSFORMERS,
            version="",
            file_type="",
            state=ProofState.SAME_ENGINE,
            words={
                "en": f"The library that trained it answers: there is nothing to hold it against. {why}",
                "zh": "由训练所用的库本身回答，无需对照证明。",
            },
        )

    def _place(self, files: _Files, version: str) -> Path:
        """Where what is found lies: by the files' contents, which their names say, and what reads them."""
        told = f"{_VERSION} {version} {files.base.name} {files.lora.name if files.lora else ''}"
        return self._cache / "proofs" / f"{hashlib.sha256(told.encode()).hexdigest()}.json"

    def _kept(self, files: _Files, version: str) -> ModelProven | None:
        try:
            return ModelProven.model_validate_json(self._place(files, version).read_bytes())
        except (OSError, ValueError):  # none, or of another version
            return None

    def _keep(self, files: _Files, made: ModelProven) -> None:
        place = self._place(files, made.version)
        if not claim(place.parent, _OWNER):
            return
        with new_file(place, overwrite=True) as file:
            file.write(made.model_dump_json().encode())
