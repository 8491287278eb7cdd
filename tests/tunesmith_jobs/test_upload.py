"""Uploads to the Hub, by its own library: each file once, one commit, nothing secret, and on again after a kill."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hub_stand_in
import pytest
import yaml
from data_jobs import Ear
from dataset_hub import point_at
from hub_stand_in import TOKEN, UploadHub
from waiting import wait_until

from tunesmith.artifacts import Manifest, list_files
from tunesmith.lifecycle import Desired, Reason
from tunesmith.model_step import ModelOrigin
from tunesmith.outcome import Outcome
from tunesmith.spec.training import TrainSpec
from tunesmith.spec.upload import UploadSpec
from tunesmith.upload_job import UploadDocument
from tunesmith_jobs.models.card import gguf_card, packaged_card, trained_card
from tunesmith_jobs.program import Attempt
from tunesmith_jobs.upload import hub as talking
from tunesmith_jobs.worker import do

REPO = "team/ember"
GGUF = {name: os.urandom(250_000) for name in ("a-00001-of-00002.gguf", "a-00002-of-00002.gguf")}
CARD = "---\nbase_model: org/base\nlicense: apache-2.0\nlibrary_name: gguf\n---\n# Ember\n"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[UploadHub]]:
    with hub_stand_in.upload_hub() as found:
        point_at(found.url, tmp_path / "cache", monkeypatch)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(talking.Repository, "_wait", lambda self, seconds: self._check())
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
        yield found


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package's folder, with a file that is kept apart."""
    folder = tmp_path / "package"
    (folder / "failed").mkdir(parents=True)
    for name, content in GGUF.items():
        (folder / name).write_bytes(content)
    (folder / "README.md").write_text(CARD)
    (folder / "failed" / "b.gguf.failed").write_bytes(b"wrong")
    manifest = Manifest(task_id="task-1", attempt=1, step=4, kind="package", files=list_files(folder))
    (folder / "manifest.json").write_bytes(manifest.encode())
    return folder


def document(package: Path, tmp_path: Path, **spec: Any) -> UploadDocument:
    read = UploadSpec.read({"task_id": "task-1", "repo_id": REPO} | spec)
    return UploadDocument(
        task_id="task-2",
        attempt=1,
        kind="upload",
        name="upload",
        spec=read.model_dump(mode="json"),
        api_url="",
        token="",
        work_dir=str(tmp_path / "work"),
        submitted_at="2026-11-30T00:00:00Z",
        model_uri=str(package),
        environment=["HF_TOKEN"],
    )


def upload(package: Path, tmp_path: Path, ear: Ear | None = None, **spec: Any) -> tuple[Outcome, Ear]:
    ear = ear or Ear()
    return do(Attempt.of(document(package, tmp_path, **spec)), ear), ear


def test_the_stand_in_is_a_hub_to_the_library_itself(
    hub: type[UploadHub], package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What holds the stand-in to the protocol is the library, unchanged: it uploads there as it does without Xet."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    from huggingface_hub import HfApi

    api = HfApi(token=TOKEN)
    api.create_repo("team/plain", private=True)
    api.upload_folder(repo_id="team/plain", folder_path=package, ignore_patterns="failed/*")
    assert set(hub.repos["team/plain"].files) == {*GGUF, "README.md", "manifest.json"}
    assert api.repo_info("team/plain").private


def test_a_package_is_uploaded_in_one_commit_to_a_private_repository(
    hub: type[UploadHub], package: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    outcome, ear = upload(package, tmp_path)
    assert outcome.reason is Reason.COMPLETED, outcome
    repo = hub.repos[REPO]
    assert repo.private
    assert repo.files == GGUF | {"README.md": CARD.encode()}
    assert len(repo.commits) == 1, "nobody saw half of it"
    assert any("multipart" in one or "/upload/" in one for one in hub.asked)
    done = [one for one in ear.heard if one.kind == "progress"]
    assert (done[-1].step, done[-1].total_steps) == (1000, 1000)
    said = json.dumps([one.model_dump(mode="json") for one in ear.heard]) + outcome.model_dump_json()
    for secret in (TOKEN, "secret-of-the-address"):
        assert secret not in said
        assert secret not in caplog.text.replace("Authorization", "")
    assert {one for one in hub.heard if one} == {f"Bearer {TOKEN}"}
    assert all(not who for call, who in zip(hub.asked, hub.heard, strict=True) if "/upload/" in call)


def test_again_is_on_again(hub: type[UploadHub], package: Path, tmp_path: Path) -> None:
    upload(package, tmp_path)
    before = dict(hub.received)
    outcome, ear = upload(package, tmp_path)
    assert outcome.reason is Reason.COMPLETED
    assert hub.received == before, "no byte of a file came twice"
    assert len(hub.repos[REPO].commits) == 1
    lines = [one.message for one in ear.heard if one.kind == "log"]
    assert sum("has it already" in line for line in lines) == len(GGUF)


@pytest.mark.parametrize(
    ("where", "status"),
    [
        ("/upload/", 0),
        ("/upload/", 503),
        ("objects/batch", 500),
        ("/commit/", 502),
        ("/preupload/", 429),
        ("repos/create", 503),
    ],
)
def test_what_the_hub_drops_is_sent_again(
    hub: type[UploadHub], package: Path, tmp_path: Path, where: str, status: int
) -> None:
    hub.faults += [(where, status), (where, status)]
    outcome, _ = upload(package, tmp_path)
    assert outcome.reason is Reason.COMPLETED, outcome
    assert hub.repos[REPO].files == GGUF | {"README.md": CARD.encode()}
    assert hub.faults == []


def made_public(hub: type[UploadHub]) -> None:
    hub.repos[REPO] = hub_stand_in.Repo(REPO, private=False)


def without_token(hub: type[UploadHub]) -> None:
    os.environ.pop("HF_TOKEN")


def wrong_token(hub: type[UploadHub]) -> None:
    os.environ["HF_TOKEN"] = "hf_of-somebody-else"


def refused(hub: type[UploadHub]) -> None:
    hub.faults.append(("repos/create", 403))


def may_only_read(hub: type[UploadHub]) -> None:
    """The library takes a repository that is there for made, whoever asks."""
    hub.repos[REPO] = hub_stand_in.Repo(REPO, private=True)
    hub.faults += [("repos/create", 403), ("/preupload/", 403)]


def without_branch(hub: type[UploadHub]) -> None:
    hub.faults.append(("/branch/", 403))


def leaves_out(hub: type[UploadHub]) -> None:
    """The library would say nothing, and commit without the file."""
    hub.left_out.add("a-00002-of-00002.gguf")


def too_large(hub: type[UploadHub]) -> None:
    hub.most_bytes = 200_000


def is_full(hub: type[UploadHub]) -> None:
    hub.faults.append(("objects/batch", 403))


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (made_public, "everybody may see it"),
        (without_token, "There is no token"),
        (wrong_token, "may not write"),
        (refused, "may not write"),
        (may_only_read, "may not write"),
        (without_branch, "may not write"),
        (leaves_out, "takes no `a-00002-of-00002.gguf`: its `.gitignore` leaves it out"),
        (too_large, "takes no `a-00001-of-00002.gguf`: the object is too large"),
        (is_full, "may not write"),
    ],
)
def test_what_the_hub_refuses_is_said_at_once(
    hub: type[UploadHub], package: Path, tmp_path: Path, plant: Callable[[type[UploadHub]], None], words: str
) -> None:
    plant(hub)
    outcome, _ = upload(package, tmp_path, revision="next" if plant is without_branch else None)
    assert outcome.reason is Reason.BAD_PARAMETERS
    assert words in outcome.message
    assert "hf_" not in outcome.message
    assert not hub.received, "no file was sent"


def test_a_public_one_is_asked_for(hub: type[UploadHub], package: Path, tmp_path: Path) -> None:
    assert upload(package, tmp_path, public=True)[0].reason is Reason.COMPLETED
    assert not hub.repos[REPO].private
    made_public(hub)
    assert upload(package, tmp_path, public=True)[0].reason is Reason.COMPLETED


def test_a_card_that_the_hub_refuses_is_said(hub: type[UploadHub], package: Path, tmp_path: Path) -> None:
    (package / "README.md").write_text(CARD.replace("org/base", "base"))
    manifest = Manifest.decode((package / "manifest.json").read_bytes())
    assert manifest is not None
    again = manifest.model_copy(update={"files": list_files(package)})
    (package / "manifest.json").write_bytes(again.encode())
    outcome, _ = upload(package, tmp_path)
    assert (outcome.reason, "base_model" in outcome.message) == (Reason.BAD_PARAMETERS, True)
    assert not hub.received, "no file was sent"
    assert not hub.repos, "and no repository made for it"


def test_what_is_not_as_it_was_stored_is_not_sent(
    hub: type[UploadHub], package: Path, tmp_path: Path
) -> None:
    (package / next(iter(GGUF))).write_bytes(b"other")
    outcome, _ = upload(package, tmp_path)
    assert (outcome.reason, "not what was stored" in outcome.message) == (Reason.BAD_DATA, True)
    assert not hub.repos, "its size is another"
    (package / next(iter(GGUF))).write_bytes(bytes(250_000))
    outcome, _ = upload(package, tmp_path)
    assert (outcome.reason, "not what was stored" in outcome.message) == (Reason.BAD_DATA, True)
    assert not hub.repos[REPO].commits


def test_a_stop_is_heard_in_the_middle_of_a_file(hub: type[UploadHub], package: Path, tmp_path: Path) -> None:
    ear = Ear()
    hub.faults.append(("/upload/", lambda: setattr(ear, "desired", Desired.STOP)))
    outcome, _ = upload(package, tmp_path, ear)
    assert outcome.reason is Reason.STOPPED_BY_USER
    assert not hub.repos[REPO].commits


_CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from data_jobs import Ear
from tunesmith.upload_job import UploadDocument
from tunesmith_jobs.program import Attempt
from tunesmith_jobs.worker import do
print(do(Attempt.of(UploadDocument.model_validate_json(Path(sys.argv[1]).read_text())), Ear()).reason.value)
"""


def test_after_a_kill_it_goes_on_with_the_next_file(
    hub: type[UploadHub], package: Path, tmp_path: Path
) -> None:
    """A process of its own, its hub named by the environment as in production; killed within the second file."""
    place = tmp_path / "document.json"
    place.write_text(document(package, tmp_path).model_dump_json())
    command = [sys.executable, "-c", _CHILD.format(tests=str(Path(__file__).parent)), str(place)]
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }

    def is_in_the_second() -> bool:
        return len(hub.objects) >= 1 and len(hub.received) >= 2

    hub.faults.append(("/upload/", 0))
    first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    hub.faults.clear()
    wait_until(is_in_the_second, 120, "the second file")
    first.kill()
    first.wait(20)
    whole = set(hub.objects)
    before = {oid: hub.received[oid] for oid in whole}
    assert not hub.repos[REPO].commits, "nobody saw half of it"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split()[-1] == "completed", done.stderr[-2000:]
    assert {oid: hub.received[oid] for oid in whole} == before, "what was there was not sent again"
    assert hub.repos[REPO].files == GGUF | {"README.md": CARD.encode()}


def test_a_token_is_never_written_out() -> None:
    from tunesmith.errors import InvalidInput

    for token in (TOKEN, "x${env.HF_TOKEN}", "${jobs.a.output}", "${env.A}${env.B}"):
        with pytest.raises(InvalidInput):
            UploadSpec.read({"task_id": "task-1", "repo_id": REPO, "token": token})
    assert UploadSpec.read({"package": "task-1", "repo": REPO}).variable == "HF_TOKEN"


def test_names_that_the_hub_refuses_are_refused_at_once() -> None:
    """As its own library refuses them, which is asked beside."""
    from huggingface_hub.utils import validate_repo_id

    from tunesmith.errors import InvalidInput

    refused = (
        "ember",
        "a/b/c",
        "../b/c",
        "a/..",
        "-a/b",
        "a b/c",
        "a--b/c",
        "a/b..c",
        "a/b.git",
        "a/b-",
        "a/b.",
        "a./b",
    )
    for repo in (*refused, f"a/{'b' * 95}"):
        with pytest.raises(InvalidInput) as found:
            UploadSpec.read({"task_id": "task-1", "repo_id": repo})
        assert found.value.problems[0].field == "repo_id"
    for repo in ("a/b", "team/Ember-2.gguf", "a_b/c.d-e_f", f"a/{'b' * 94}"):
        validate_repo_id(UploadSpec.read({"task_id": "task-1", "repo_id": repo}).repo_id)
    for branch in ("a..b", "a/", "a.lock", "a//b", "a/.b", "a."):
        with pytest.raises(InvalidInput) as found:
            UploadSpec.read({"task_id": "task-1", "repo_id": REPO, "revision": branch})
        assert found.value.problems[0].field == "revision"


@pytest.mark.parametrize(("base", "named"), [("model", None), ("owner/model", "owner/model")])
def test_a_card_names_as_its_base_what_the_hub_knows(base: str, named: str | None) -> None:
    """A folder's name is no model of the Hub, which refuses the card then, once all the weights were sent."""
    origin, training = ModelOrigin(base=base), TrainSpec.read({"model_name_or_path": base, "train_file": "-"})
    more: dict[str, Any] = {"title": "t", "step": 1, "base_license": None}
    cards = [
        trained_card(base, "t", is_adapter=True, labels=None),
        packaged_card(origin, training, is_merged=True, **more),
        gguf_card(origin, training, files=[], **more),
    ]
    for card in cards:
        head = yaml.safe_load(card.partition("---\n")[2].partition("---\n")[0]) or {}
        assert head.get("base_model") == named, card
        assert base in card, "who reads it is told"
