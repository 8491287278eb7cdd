"""A model as a folder that stands by itself: weights with the adapter merged into its base, tokenizer, chat template,
generation settings, a card, and the sums of all of it.

Knows the trainer's own merge and the artifact store; knows nothing of who asks.
"""

from pathlib import Path

from tunesmith.artifacts import FINAL_MODEL
from tunesmith.events import Phase
from tunesmith.lifecycle import Reason
from tunesmith.model_folder import ADAPTER_CONFIG, without_folders
from tunesmith.outcome import Outcome
from tunesmith.removal import remove_own
from tunesmith.spec.package import PackageSpec
from tunesmith_jobs.artifact_store import ArtifactStore, Owner, link_or_copy
from tunesmith_jobs.failures import StorageFailed
from tunesmith_jobs.model_work import Work
from tunesmith_jobs.models.card import packaged_card
from tunesmith_jobs.models.fetch import fetch_model
from tunesmith_jobs.models.merge import merge
from tunesmith_jobs.models.reading import lay_out
from tunesmith_jobs.package.gguf_files import package_files
from tunesmith_jobs.package.texts import called, lay_licenses, lay_model_texts, license_of


def package(work: Work, spec: PackageSpec) -> Outcome:
    """Write the folder, or GGUF files, and bring them to the storage.

    Raises:
        InvalidModel: The model cannot be loaded, or is no model in safetensors.
        InvalidInput: The adapter does not fit its base.
        StorageFailed: The storage did not take it.
    """
    if spec.makes_gguf:
        return package_files(work, spec)
    document, training = work.document, work.training
    assert document.artifact_uri is not None
    work.scratch.mkdir(parents=True, exist_ok=True)
    weights = fetch_model(document.model_uri, work.scratch / "given")
    target = work.scratch / FINAL_MODEL
    target.mkdir()
    is_adapter = (weights / ADAPTER_CONFIG).is_file()
    if is_adapter:
        merge(
            weights,
            Path(training.model_name_or_path),
            target,
            training,
            document.classes or None,
            check=work.check,
            activities=work.outlet.activities,
        )
    else:
        lay_out(weights, target, link_or_copy)
    work.phase_done(Phase.WEIGHTS)
    template_sha256 = lay_model_texts(work, target)
    _write_card(work, target, is_merged=is_adapter)
    lay_licenses(work, target)
    files = sum(1 for file in target.rglob("*") if file.is_file()) + 1
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    work.check()
    base = without_folders(document.origin.base)
    owner = Owner(document.task_id, document.attempt, base, template_sha256)
    store = ArtifactStore(
        document.artifact_uri,
        owner,
        Path(document.output_dir) if document.output_dir else None,
        activities=work.outlet.activities,
    )
    try:
        _, uri = store.put(target, FINAL_MODEL, document.step, kind="model")
    except OSError as error:
        raise StorageFailed(f"The model could not be stored: {error}") from error
    how = "The adapter is merged into its base" if is_adapter else "The model was whole already"
    words = f"{how}: {files} files, {size / 1e6:.1f} MB, in `{uri}`."
    for place in store.not_shown:
        words += f" Nothing was published at `{place}`: something stands there that this task did not make."
    return Outcome.because(Reason.COMPLETED, words).model_copy(update={"model_uri": uri})


def _write_card(work: Work, target: Path, *, is_merged: bool) -> None:
    document = work.document
    card = packaged_card(
        document.origin,
        work.training,
        title=called(document),
        step=document.step,
        base_license=license_of(document),
        is_merged=is_merged,
    )
    # A whole model's folder has a card of its own, linked: it is not to be changed.
    remove_own(target / "README.md")
    (target / "README.md").write_text(card, encoding="utf-8")
