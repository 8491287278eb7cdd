"""What a job is handed lets it report for its own attempt and for nothing else, and no secret leaves the platform."""

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from fastapi.testclient import TestClient
from pydantic import ValidationError

from tunesmith.errors import PathNotAllowed
from tunesmith.home import Home
from tunesmith.job import JobDocument, RunnerDocument, read_secret, report_token, runner_token
from tunesmith.spec.task import NewDataTask
from tunesmith_platform.paths import allowed_path, allowed_uri
from tunesmith_platform.runners.pool import RunnerPool
from tunesmith_platform.scope import INSTALLATION
from tunesmith_platform.tasks import repository
from tunesmith_platform.testing.fakes import FakeJobs


def handed(jobs: FakeJobs, job_id: str) -> dict[str, Any]:
    """All that a job knows: its document, from the one thing that Ray was told."""
    document: dict[str, Any] = json.loads(Path(jobs.documents[job_id]).read_bytes())
    return document


def tokens(document: dict[str, Any]) -> set[str]:
    """Whatever in a document could be a token, and what the files hold that it points to."""
    words = {value for value in document.values() if isinstance(value, str) and " " not in value}
    pointed = {Path(word) for word in words if word.startswith("/")}
    return words | {path.read_text().strip() for path in pointed if path.is_file()}


@pytest.fixture
def two(plane: Plane) -> tuple[str, str]:
    """Two tasks that run; the second in its second attempt."""
    plane.settings.max_concurrent_jobs = 3
    first, second = plane.running(), plane.running()
    del plane.jobs.jobs[f"{second.id}-1"]
    plane.tick()
    with plane.services.database.write() as session:
        repository.locked(session, INSTALLATION, second.id).retry_at = None
    plane.tick()
    return first.id, second.id


def test_a_job_reports_for_its_own_attempt_alone(
    plane: Plane, client: TestClient, two: tuple[str, str]
) -> None:
    first, second = two
    assert f"{second}-2" in plane.jobs.documents
    for mine in (f"{first}-1", f"{second}-1", f"{second}-2"):
        for other in (f"{first}-1", f"{second}-1", f"{second}-2"):
            task, attempt = other.rsplit("-", 1)
            for token in tokens(handed(plane.jobs, mine)):
                # What can be made of what was handed over, if it were the secret.
                for bearer in (token, report_token(token, task, int(attempt))):
                    answer = client.post(
                        f"/v1/tasks/{task}/reports",
                        json={"attempt": int(attempt)},
                        headers={"Authorization": f"Bearer {bearer}"},
                    )
                    is_its_own = mine == other and bearer == handed(plane.jobs, mine)["token"]
                    assert (answer.status_code != 401) == is_its_own, (mine, other)


def test_an_attempt_may_ask_what_has_arrived_of_those_before_it(
    plane: Plane, client: TestClient, two: tuple[str, str]
) -> None:
    first, second = two

    def ask(job: str, task: str, attempt: int) -> int:
        headers = {"Authorization": f"Bearer {handed(plane.jobs, job)['token']}"}
        return client.get(f"/v1/tasks/{task}/reports/{attempt}", headers=headers).status_code

    assert ask(f"{second}-2", second, 1) == 200
    assert ask(f"{second}-1", second, 2) == 401, "what came after is none of its business"
    assert ask(f"{first}-1", second, 1) == 401


def test_a_runners_token_asks_for_work_and_nothing_else(
    plane: Plane, client: TestClient, two: tuple[str, str]
) -> None:
    settings = plane.settings.model_copy(update={"warm_runners": 1})
    RunnerPool(plane.services.database, plane.services.hub, settings, plane.jobs).tick()
    (job,) = (name for name in plane.jobs.submits if name.startswith("runner-"))
    runner = job.rsplit("-", 1)[0]
    headers = {"Authorization": f"Bearer {handed(plane.jobs, job)['token']}"}
    ask = {"is_warm": False, "wait_seconds": 0}
    assert client.post(f"/v1/runners/{runner}/next", json=ask, headers=headers).status_code == 200
    assert client.post("/v1/runners/runner-b/next", json=ask, headers=headers).status_code == 401
    for task in (*two, runner):
        answer = client.post(f"/v1/tasks/{task}/reports", json={"attempt": 1}, headers=headers)
        assert answer.status_code == 401


def test_no_secret_is_where_jobs_or_users_look(plane: Plane, home: Home, two: tuple[str, str]) -> None:
    rows = home.models / "rows.jsonl"
    rows.parent.mkdir(exist_ok=True)
    rows.write_text('{"text": "a"}\n')
    new = NewDataTask(operation="shuffle", parameters={"dataset": str(rows)}, into="mixed")
    plane.services.tasks.create(LOCAL, new.as_task(), None)
    plane.tick()
    secrets = {
        read_secret(home.report_secret_file),
        str(home.report_secret_file),
        home.report_secret_file.name,
    }
    own = {handed(plane.jobs, job)["token"] for job in plane.jobs.submits}
    assert len(own) == len(plane.jobs.submits) >= 4
    told_to_ray = json.dumps([plane.jobs.submits, plane.jobs.documents, plane.jobs.programs])
    shown = json.dumps([plane.task(task).model_dump(mode="json") for task in two])
    runs = repr(plane.tracking)
    for file in (path for path in home.files.rglob("*") if path.is_file()):
        assert not any(secret in file.read_text(errors="replace") for secret in secrets), file
        if any(token in file.read_text(errors="replace") for token in own):
            assert re.fullmatch(r"attempt-\d\.json", file.name)
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, "nobody else on the machine reads it"
    for text in (told_to_ray, shown, runs):
        assert not any(word in text for word in secrets | own)


def test_a_document_is_no_file_that_a_user_may_name(plane: Plane, two: tuple[str, str]) -> None:
    """As a chat template it would be shown; what tasks save beside it may be named."""
    document = plane.jobs.documents[f"{two[0]}-1"]
    roots = plane.settings.model_roots()
    with pytest.raises(PathNotAllowed):
        allowed_path(document, roots)
    link = plane.home.models / "template.jinja"
    link.symlink_to(document)
    with pytest.raises(PathNotAllowed):
        allowed_path(str(link), roots)
    assert allowed_path(str(Path(document).parent / "artifacts"), roots)
    with pytest.raises(PathNotAllowed):
        allowed_uri("s3://b/x/tasks/task-1/attempt-1.json", ["s3://b/x/"])


def test_what_was_queued_before_documents_held_tokens_still_runs(plane: Plane, client: TestClient) -> None:
    """It names the secret's file; its attempt's token, and none but it, is what it reports with."""
    plane.settings.max_concurrent_jobs = 3
    task = plane.running()
    before = handed(plane.jobs, f"{task.id}-1") | {"secret_file": str(plane.home.report_secret_file)}
    del before["token"]
    document = JobDocument.model_validate_json(json.dumps(before))
    answer = client.post(
        f"/v1/tasks/{task.id}/reports",
        json={"attempt": 1, "events": []},
        headers={"Authorization": f"Bearer {document.token}"},
    )
    assert answer.status_code == 200, answer.text
    runner = {"runner_id": "runner-a", "api_url": "-", "secret_file": str(plane.home.report_secret_file)}
    secret = read_secret(plane.home.report_secret_file)
    assert RunnerDocument.model_validate(runner).token == runner_token(secret, "runner-a")
    for broken in (before | {"secret_file": "/nowhere"}, {"task_id": "t"}):
        with pytest.raises(ValidationError, match="token"):
            JobDocument.model_validate(broken)
