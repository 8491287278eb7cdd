"""A model as GGUF files: planned, written in one pass each, read back in llama.cpp and held against the model, stored.

A file that is not the model is kept apart and marked, and is no result. Knows plans, proofs and the artifact store;
knows nothing of who asks.
"""

import contextlib
import logging
import math
from collections.abc import Iterator
from pathlib import Path

from tunesmith.activity import ActivityKind, Unit
from tunesmith.artifacts import PACKAGE
from tunesmith.errors import InvalidInput, InvalidModel
from tunesmith.events import Phase, Warned
from tunesmith.gguf import (
    FileType,
    Importance,
    ModelPlan,
    Written,
    plan_gguf,
    plan_lora_gguf,
    write_gguf,
    write_lora_gguf,
)
from tunesmith.gguf.split import size_of
from tunesmith.gguf.text_rules import CUTS_AT_MARKS
from tunesmith.lifecycle import Reason
from tunesmith.model_folder import ADAPTER_CONFIG, without_folders
from tunesmith.outcome import Outcome
from tunesmith.removal import discard, discard_file
from tunesmith.spec.package import PackageSpec
from tunesmith_jobs.activities import bytes_below
from tunesmith_jobs.artifact_store import ArtifactStore, Owner
from tunesmith_jobs.failures import StorageFailed
from tunesmith_jobs.model_work import Work
from tunesmith_jobs.models.fetch import fetch_model
from tunesmith_jobs.models.generation_settings import is_chat
from tunesmith_jobs.models.gguf_proof.proof import PROOF_FILE, Proof
from tunesmith_jobs.models.gguf_proof.prover import Prover, Subject
from tunesmith_jobs.package.adapter_zip import packed_adapter
from tunesmith_jobs.package.beside import proof_text, write_beside
from tunesmith_jobs.package.course import Course, forecast
from tunesmith_jobs.package.files import FAILED, Order, matrix_name, orders, require_room, zip_name
from tunesmith_jobs.package.held import held_by, with_weights
from tunesmith_jobs.package.importance import Matrix, matrix_for
from tunesmith_jobs.package.made import package_made
from tunesmith_jobs.package.made_before import Inputs, Taken, key_of, print_of, take
from tunesmith_jobs.package.source import Source, source_of
from tunesmith_jobs.package.texts import called, lay_texts

_SPACE_BEFORE = "pre_tokenizer.prepend_scheme"
_BASE_TO_PROVE = ".base-to-prove.gguf"
_log = logging.getLogger("tunesmith_jobs.package")


def package_files(work: Work, spec: PackageSpec) -> Outcome:
    """Write the files, prove them, and bring them to the storage.

    Raises:
        InvalidModel: The model cannot be loaded, or is none in safetensors; or no file of it is the model.
        InvalidInput: The adapter does not fit its base, or there is none.
        NotConvertible: A GGUF file cannot hold the model.
        NoRoom: The disk does not hold the files.
        StorageFailed: The storage did not take them.
    """
    return _Packaging(work, spec).run()


class _Packaging:
    """One attempt."""

    def __init__(self, work: Work, spec: PackageSpec) -> None:
        self._work, self._spec = work, spec
        document = work.document
        assert document.artifact_uri is not None
        work.scratch.mkdir(parents=True, exist_ok=True)
        self._target = self._fresh(PACKAGE)
        self._given = given = fetch_model(document.model_uri, work.scratch / "given")
        self._lora_over: FileType | None = None
        self._adapter = given if (given / ADAPTER_CONFIG).is_file() else None
        self._base = Path(work.training.model_name_or_path) if self._adapter else given
        if self._adapter is None and (spec.export_lora_gguf or spec.export_adapter_zip):
            raise InvalidInput(
                "The model is a whole one: there is no LoRA to write.",
                hint="Use `preset: merge_and_quantize`, or name a task that trained a LoRA.",
                field="preset",
            )
        self._orders = orders(spec, called(document), document.step, is_adapter=self._adapter is not None)
        self._owner = Owner(document.task_id, document.attempt, without_folders(document.origin.base), None)
        self._store = ArtifactStore(
            document.artifact_uri,
            self._owner,
            Path(document.output_dir) if document.output_dir else None,
            activities=work.outlet.activities,
        )
        self._plans: dict[str, ModelPlan] = {}
        self._split_bytes = size_of(spec.split_size) if spec.split_size else None
        self._merged_adapter = self._adapter if spec.merge_lora else None
        self._matrix: Matrix | None = None
        self._taken: dict[str, Taken] = {}
        self._keys: dict[str, str] = {}

    def run(self) -> Outcome:
        """See `package_files`."""
        words = self._fresh("words")
        template = lay_texts(self._work, words)
        self._work.phase_done(Phase.DATA)
        source = source_of(self._work, self._base, self._merged_adapter, words, lambda: self._fresh("merged"))
        self._plan(source)
        self._work.phase_done(Phase.WEIGHTS)
        if self._spec.matrix_rows is not None:
            self._matrix = matrix_for(self._work, self._spec, self._base, self._merged_adapter)
        self._take(source)
        written = self._write(source)
        proofs = self._prove(source, written)
        self._keep_apart(proofs)
        if self._matrix is not None:
            self._matrix.lay(self._target / matrix_name(self._orders))
        write_beside(
            self._work,
            self._target,
            [(order, proofs[order.name]) for order in self._orders],
            template.source if template else None,
            is_adapter=self._adapter is not None,
            matrix=self._matrix.words if self._matrix else None,
        )
        return self._stored(proofs, written, is_ours=source.converter is None)

    def _fresh(self, name: str) -> Path:
        """An empty folder of this attempt's: a worker that was lost may have left one."""
        folder = self._work.scratch / name
        discard(folder, self._work.document.task_id)
        folder.mkdir()
        return folder

    # --- what is written

    def _plan(self, source: Source) -> None:
        """See what comes of every file, and that the disks hold them, before a byte is written."""
        needed: dict[str, int] = {}
        for order in self._orders:
            if order.is_lora:
                assert self._adapter is not None
                needed[order.name] = plan_lora_gguf(self._adapter, self._base, order.type).bytes
                if not any(not one.is_lora for one in self._orders):
                    needed[_BASE_TO_PROVE] = plan_gguf(self._base, tokenizer=source.words).bytes
                continue
            plan = source.plan(order.type, Importance.to_come() if self._spec.matrix_rows else None)
            self._plans[order.name] = plan
            needed[order.name] = plan.bytes
            if plan.fallbacks:
                listed = ", ".join(f"{words} ({count})" for words, count in plan.fallbacks.items())
                self._work.outlet.emit(
                    Warned(
                        code="fallback_types",
                        message=f"`{order.name}`: rows of this model do not divide into the blocks of `{order.type}`; "
                        f"matrices with another type: {listed}.",
                    )
                )
        for notice in {
            notice.field: notice for plan in self._plans.values() for notice in plan.notices
        }.values():
            self._work.outlet.emit(Warned(code="gguf_differs", message=notice.message))
        if self._spec.export_adapter_zip:
            assert self._adapter is not None
            needed[zip_name(self._work.document)] = bytes_below(self._adapter)
        output = self._work.document.output_dir
        require_room(needed, [self._target, *([Path(output)] if output else [])])
        self._sizes = needed
        total = sum(needed.values())
        _log.info("%d files, %.1f MB: %s", len(needed), total / 1e6, ", ".join(needed))

    def _take(self, source: Source) -> None:
        """Lay what was made before of the same inputs in place; what is split, or made by others, is made anew."""
        wholes = [order for order in self._orders if not order.is_lora]
        if not wholes or self._split_bytes is not None or source.converter is not None:
            return
        matrix = self._matrix.file.stem if self._matrix else None

        def advance(_: int) -> None:
            self._work.check()

        # An adapter's file is proven over one of these, and so needs it here.
        store = self._store if len(wholes) == len(self._orders) else None
        told = print_of(Inputs(source.base, source.adapter, source.words, matrix), advance)
        for order in wholes:
            self._keys[order.name] = key = key_of(told, order.type, matrix)
            found = take(
                order, key, self._work.document.made_before, self._target / order.name, advance, store
            )
            if found is not None:
                self._taken[order.name] = found
                _log.info("`%s` was made before, by package `%s`: it is taken.", order.name, found.task_id)

    def _write(self, source: Source) -> dict[str, Written]:
        total = sum(size for name, size in self._sizes.items())
        before, found = 0, dict[str, Written]()
        course = self._course = self._forecast(total, source)
        with self._work.outlet.activities.doing(ActivityKind.WRITING, Unit.BYTES, total) as doing:

            def tell(tensor: str, done: int, of: int) -> None:
                self._work.check()
                doing.done = before + done
                course.wrote(doing.done)

            for order in self._orders:
                target = self._target / order.name
                if order.name in self._taken:
                    size, tensors = self._taken[order.name].bytes, self._plans[order.name].tensors
                    found[order.name] = Written(target, size, len(tensors), ())
                elif order.is_lora:
                    assert self._adapter is not None
                    found[order.name] = write_lora_gguf(self._adapter, self._base, target, order.type, tell)
                else:
                    matrix = self._matrix.importance if self._matrix else None
                    found[order.name] = source.write(target, order.type, tell, matrix, self._split_bytes)
                before += self._sizes[order.name]
                _log.info("`%s` is written: %.1f MB.", order.name, found[order.name].bytes / 1e6)
            if self._spec.export_adapter_zip:
                assert self._adapter is not None
                target = self._target / zip_name(self._work.document)
                packed_adapter(self._work, self._adapter, source.words, target, self._owner.base_model)
        return found

    def _forecast(self, total: int, source: Source) -> Course:
        """How far it is, from here on; what the proofs will take is said, for they take longer than the writing."""
        plan = next(iter(self._plans.values()), None) or plan_gguf(self._base, tokenizer=source.words)
        parameters = sum(math.prod(tensor.shape) for tensor in plan.tensors)
        files = len(self._orders) - len(self._taken)
        seconds = forecast(parameters, files)
        _log.info(
            "Proving takes about %.0f s: %d files of %.0f M parameters.", seconds, files, parameters / 1e6
        )
        return Course(self._work.report, total, files, seconds)

    # --- what is proven

    def _prove(self, source: Source, written: dict[str, Written]) -> dict[str, Proof]:
        found: dict[str, Proof] = {}
        with self._work.outlet.activities.doing(ActivityKind.PROVING, Unit.FILES, len(written)) as doing:
            found |= {name: taken.proof for name, taken in self._taken.items()}
            doing.advance(len(found))
            self._course.prove()
            wholes = [order for order in self._orders if not order.is_lora and order.name not in found]
            if wholes:
                plan = self._plans[wholes[0].name]
                prover = self._prover(self._base, self._merged_adapter, plan, source)
                for order in wholes:
                    found[order.name] = prover.prove(written[order.name].path, order.type)
                    self._say(found[order.name])
                    doing.advance()
                    self._course.proved()
                del prover
            for order in self._orders:
                if order.is_lora:
                    found[order.name] = self._prove_lora(order, source, written)
                    self._say(found[order.name])
                    doing.advance()
                    self._course.proved()
        return {order.name: found[order.name] for order in self._orders}

    def _prove_lora(self, order: Order, source: Source, written: dict[str, Written]) -> Proof:
        """An adapter's file over a file of its base: one that is written anyway, or one that is gone afterwards."""
        with self._base_file(source, written) as (base, kind):
            self._lora_over = kind
            plan = plan_gguf(self._base, kind, tokenizer=source.words)
            prover = self._prover(self._base, self._adapter, plan)
            return prover.prove(base, kind, self._target / order.name)

    @contextlib.contextmanager
    def _base_file(self, source: Source, written: dict[str, Written]) -> Iterator[tuple[Path, FileType]]:
        there = [one for one in self._orders if not one.is_lora and not one.with_adapter]
        if there:
            best = max(there, key=lambda one: self._sizes[one.name])
            yield written[best.name].path, best.type
            return
        made = self._work.scratch / _BASE_TO_PROVE
        write_gguf(self._base, made, FileType.F16, lambda *_: self._work.check(), tokenizer=source.words)
        try:
            yield made, FileType.F16
        finally:
            discard_file(made)

    def _prover(
        self, base: Path, adapter: Path | None, plan: ModelPlan, source: Source | None = None
    ) -> Prover:
        document, training = self._work.document, self._work.training
        encoder = Path(document.encoder_path)
        tokenizer = Path(document.tokenizer_path) if document.tokenizer_path else None
        subject = Subject(
            base,
            adapter,
            encoder,
            tokenizer,
            training,
            is_chat=is_chat(training, encoder, tokenizer) or "tokenizer.chat_template" in plan.metadata,
            written_from=source and source.base,
            written_by=source.converter.name if source and source.converter else None,
            space_before=any(notice.field == _SPACE_BEFORE for notice in plan.notices),
            matrix=self._matrix.importance if self._matrix else None,
            cuts_at_marks=any(notice.field == CUTS_AT_MARKS for notice in plan.notices),
        )
        return Prover(subject, self._work.scratch, self._course.look, threads=self._threads())

    def _threads(self) -> int:
        import torch

        return int(torch.get_num_threads())

    def _say(self, proof: Proof) -> None:
        _log.info("%s", proof.sentence["en"])
        if proof.verdict != "proven":
            code = "not_the_model" if proof.verdict == "failed" else "not_proven"
            self._work.outlet.emit(Warned(code=code, message=proof.sentence["en"]))

    # --- what is stored

    def _keep_apart(self, proofs: dict[str, Proof]) -> None:
        """Put files that are not the model where nobody takes them for it.

        Raises:
            InvalidModel: There is no other.
        """
        failed = [proof for proof in proofs.values() if proof.verdict == "failed"]
        for proof in failed:
            (self._target / FAILED).mkdir(exist_ok=True)
            for name in proof.names:
                (self._target / name).rename(self._target / FAILED / f"{name}.failed")
            (self._target / FAILED / f"{proof.file}.{PROOF_FILE}").write_text(
                proof_text(proof), encoding="utf-8"
            )
        if failed and len(failed) == len(proofs):
            raise InvalidModel(
                " ".join(proof.sentence["en"] for proof in failed),
                hint="This is a fault of ours, or of the model's files: report it with the task's log.",
            )

    def _stored(self, proofs: dict[str, Proof], written: dict[str, Written], *, is_ours: bool) -> Outcome:
        work, document, store = self._work, self._work.document, self._store
        work.check()
        sums = {
            self._target / name: sha256
            for proof in proofs.values()
            if proof.verdict != "failed"
            for name, sha256 in (proof.parts or {proof.file: proof.sha256}).items()
        }
        try:
            manifest, uri = store.put(self._target, PACKAGE, document.step, kind="package", sums=sums)
        except OSError as error:
            raise StorageFailed(f"The files could not be stored: {error}") from error
        offered = [proof for proof in proofs.values() if proof.verdict != "failed"]
        files = {written[name].path.name: written[name] for name in written}
        plans = {written[name].path.name: plan for name, plan in self._plans.items()}
        importance = self._matrix.facts(matrix_name(self._orders)) if self._matrix else None
        told = {
            name: (key, self._taken[name].task_id if name in self._taken else None)
            for name, key in self._keys.items()
        }
        made = package_made(uri, manifest, list(proofs.values()), files, plans, told)
        held = held_by(document, self._orders, (self._given, self._base), self._lora_over, is_ours=is_ours)
        made = with_weights(made, {written[name].path.name: one for name, one in held.items()})
        work.outlet.emit(made.model_copy(update={"importance": importance}))
        size = sum(files[proof.file].bytes for proof in offered)
        count = sum(len(proof.names) for proof in offered)
        words = f"GGUF files: {count}, {size / 1e6:.1f} MB, in `{uri}`."
        left_out = len(proofs) - len(offered)
        if left_out:
            words += f" Files that are not the model, kept apart in `{FAILED}`: {left_out}."
        for place in store.not_shown:
            words += (
                f" Nothing was published at `{place}`: something stands there that this task did not make."
            )
        return Outcome.because(Reason.COMPLETED, words).model_copy(update={"model_uri": uri})
