"""What shows of a parameter of packages and uploads, for `test_parameter_effects`. No test itself."""

import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tunesmith.artifacts import Manifest
from tunesmith.errors import NotConvertible
from tunesmith.pull_job import PullDocument
from tunesmith.spec.package import PackageSpec
from tunesmith.spec.pull import PullSpec
from tunesmith.spec.upload import UploadSpec
from tunesmith_jobs.outlet import Silent
from tunesmith_jobs.package import importance, texts
from tunesmith_jobs.package.gguf_files import _Packaging
from tunesmith_jobs.pull import program as pulling
from tunesmith_jobs.upload import program
from tunesmith_platform.tasks.kinds import converter_offer, license_terms


def writing(spec: PackageSpec, folder: Path, model: Path) -> _Packaging:
    """What writes the files of a whole model's package; it has written none yet.

    Raises:
        InvalidInput: A file of an adapter is wanted.
    """
    document = SimpleNamespace(
        artifact_uri=str(folder / "artifacts"), model_uri=str(model), name="m", step=4, task_id="task-1", attempt=1,
        spec=spec.model_dump(), origin=SimpleNamespace(task_name="m", base="base"), output_dir=None,
    )  # fmt: skip
    scratch = Path(tempfile.mkdtemp(dir=folder))
    work: Any = SimpleNamespace(document=document, scratch=scratch, outlet=Silent())
    return _Packaging(work, spec)


def weighed_tokens(spec: PackageSpec, folder: Path, model: Path) -> int:
    """How many tokens an importance matrix is computed of, at most."""
    document = SimpleNamespace(
        data_path=str(folder / "talks.jsonl"), encoder_path=str(model), tokenizer_path=None, work_dir=str(folder / "w"),
        origin=SimpleNamespace(datasets=["talks"]),
    )  # fmt: skip
    work: Any = SimpleNamespace(document=document, training=None, outlet=Silent(), check=lambda: None)
    seen: list[int] = []

    def importance_of(asked: importance.Asked, *_: Any, **__: Any) -> Any:
        seen.append(asked.tokens)
        return SimpleNamespace(was_kept=False, words="")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importance, "importance_of", importance_of)
        importance.matrix_for(work, spec, model, None)
    return seen[0]


def called(spec: PackageSpec) -> str:
    """What a package is called that was made of the task `m`."""
    document: Any = SimpleNamespace(spec=spec.model_dump(), origin=SimpleNamespace(task_name="m"), name="p")
    return texts.called(document)


def license_told(spec: PackageSpec) -> int:
    """How much is said of a license that limits who may be given the model.

    Raises:
        InvalidInput: It is refused.
    """
    found: Any = SimpleNamespace(origin=SimpleNamespace(task_name="m"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(license_terms, "license_of", lambda _: "cc-by-nc-4.0")
        return len(license_terms.terms_told(spec, found, None))


def is_left_to_converter(spec: PackageSpec) -> bool:
    """Whether a model that is not written here is left to a converter that the machine has.

    Raises:
        InvalidInput: It is refused.
    """
    error = NotConvertible("No GGUF file is made.", field="model_type")
    converter_offer.leave_to_converter(spec, error, [sys.executable])
    return True


def uploaded(spec: UploadSpec, folder: Path) -> dict[str, Any]:
    """What a hub is told, by its name."""
    seen: dict[str, Any] = {}

    class Hub:
        endpoint = "http://127.0.0.1:9"

        def __init__(self, repo_id: str, revision: str | None, token: str, _: Any) -> None:
            seen.update(repo_id=repo_id, revision=revision, token=token)

        def ensure(self, *, public: bool) -> None:
            seen["public"] = public

        def check_files(self, files: dict[str, Any]) -> None:
            assert not files

        def commit(self, _: str) -> str:
            return "0" * 40

    document: Any = SimpleNamespace(
        spec=spec.model_dump(), environment=["HF_TOKEN", "OTHER_TOKEN"], model_uri="", name="u"
    )
    storage: Any = SimpleNamespace(get_folder=lambda _prefix, _place: folder)
    manifest = Manifest(task_id="task-1", attempt=1, step=4, kind="package", files=[])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "one")
        patch.setenv("OTHER_TOKEN", "another")
        patch.setattr(program, "Repository", Hub)
        patch.setattr(program, "is_stop_requested", lambda _: False)
        patch.setattr(program._Upload, "_stored", lambda _: (storage, manifest))
        program._Upload(document, Silent(), folder).run()
    return seen


def pulled(spec: PullSpec) -> dict[str, Any]:
    """What a hub is asked for, by its name."""
    seen: dict[str, Any] = {}

    def pull(name: str, models: Path, say: Any, wish: Any) -> Path:
        seen.update(repo_id=name, revision=wish.revision, hub=str(wish.hub), token=wish.token)
        return models

    document = PullDocument.model_construct(
        spec=spec.model_dump(), environment=["HF_TOKEN", "OTHER_TOKEN"], models_dir="models"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "one")
        patch.setenv("OTHER_TOKEN", "another")
        patch.setattr(pulling, "pull", pull)
        patch.setattr(pulling, "is_stop_requested", lambda _: False)
        pulling._Pull(document, Silent()).run()
    return seen
