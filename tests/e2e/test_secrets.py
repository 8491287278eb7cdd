"""Every secret that a platform is given is used, and stands afterwards nowhere: a canary in each, and all is searched.

What is outside refuses every call and says the caller's key in its refusal, as services do.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from canaries import TellTale, canary, files_below, leaks, tell_tale
from live_platform import Platform, platform_up
from short_tasks import submit_short, write_dialogues
from waiting import wait_until

from tunesmith.client import Client
from tunesmith.errors import TunesmithError
from tunesmith.home import Home
from tunesmith.job import read_secret
from tunesmith.lifecycle import State
from tunesmith.spec.task import new_task
from tunesmith_platform.embedded.parts import ray_folder

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.long]


class Given(NamedTuple):
    """A platform whose secrets are canaries."""

    home: Home
    outside: TellTale
    canaries: dict[str, str]
    tasks: dict[str, Any]


OF_THE_STATE_FOLDER = ("api-key", "report-secret", "ray-token", "mlflow-token")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Given]:
    root = tmp_path_factory.mktemp("secrets")
    (root / "of-the-hub").write_text(hub := canary("hf"))
    canaries = {
        "WANDB_API_KEY": canary("w")[:40].ljust(40, "0"),
        "JUDGE": canary("sk"),
        "AWS_SECRET_ACCESS_KEY": canary("aws"),
        "AWS_SESSION_TOKEN": canary("session"),
        "TUNESMITH_SMTP_PASSWORD": canary("mail"),
    }
    with tell_tale() as outside:
        environment = canaries | {
            "HF_TOKEN_FILE": str(root / "of-the-hub"),
            "HF_ENDPOINT": outside.url,
            "WANDB_BASE_URL": outside.url,
            "TUNESMITH_PASS_ENVIRONMENT": '["WANDB_*"]',
            "TUNESMITH_JUDGES": json.dumps({f"{outside.url}/v1": "JUDGE"}),
            "AWS_ACCESS_KEY_ID": "canary-key",
            "AWS_ENDPOINT_URL": outside.url,
            "TUNESMITH_ALLOWED_URIS": '["s3://bucket/data/"]',
            "TUNESMITH_NOTIFY_ADDRESSES": '["loopback"]',
            "HTTPS_PROXY": f"http://user:{(proxy := canary('proxy'))}@127.0.0.1:9",
        }
        canaries |= {"HF_TOKEN": hub, "a proxy's password": proxy}
        with platform_up(root, tiny_model, 0, **environment) as home:
            yield _used(Platform(home, tiny_model, is_warm=False), outside, canaries)


def _used(platform: Platform, outside: TellTale, canaries: dict[str, str]) -> Given:
    """The same after tasks that use each secret that there is."""
    client = platform.client
    hook = client.webhooks.add(f"{outside.url}/hook")
    made = client.keys.make(name="ann")
    rows = write_dialogues(platform.folder / "rows.jsonl")
    train = submit_short(client, platform.model, rows, 4, report_to=["mlflow", "tensorboard", "wandb"])
    tasks = {"train": client.wait(train.id, timeout=240)}
    assert tasks["train"].state is State.COMPLETED, tasks["train"].message
    asked = {
        "task_id": train.id, "sample_file": "default", "max_samples": 5, "max_new_tokens": 4, "judge_model": "m",
        "judge_base_url": f"{outside.url}/v1",
    }  # fmt: skip
    judged = client.create_task(new_task("evaluate", asked))
    loaded = client.datasets.run("load", {"path": "org/talks", "token": "${env.HF_TOKEN}"}, into="talks")
    for name, task in (("judged", judged), ("loaded", loaded)):
        tasks[name] = client.wait(task.id, timeout=240)
    with pytest.raises(TunesmithError):
        client.datasets.register("s3://bucket/data/rows.jsonl", "of-a-bucket")
    wait_until(lambda: any(one.tries for one in client.webhooks.deliveries()), 60, "the webhook's try")
    own = {name: read_secret(platform.home.root / name) for name in OF_THE_STATE_FOLDER}
    told = canaries | own | {"a webhook's secret": hook.secret, "a key that was made": made.secret}
    return Given(platform.home, outside, told, tasks)


@pytest.mark.parametrize("name", ["HF_TOKEN", "WANDB_API_KEY", "JUDGE", "AWS_SESSION_TOKEN"])
def test_each_was_used(given: Given, name: str) -> None:
    """A secret that nothing reads cannot leak: this test would then say nothing."""
    told = [f"{key}: {task.state} {task.message}" for key, task in given.tasks.items()]
    assert given.outside.was_told(given.canaries[name]), "\n".join(told)


def test_nothing_that_the_platform_leaves_holds_a_secret(given: Given) -> None:
    left = files_below(given.home.root, given.home.root.parent / "outputs", ray_folder(given.home))
    for name in OF_THE_STATE_FOLDER:  # where it is kept, readable by its owner alone
        file = given.home.root / name
        assert file.stat().st_mode & 0o077 == 0
        del left[str(file)]
    # An attempt's document holds the token of its own reports, and Ray is told its address alone.
    assert any("attempt-1.json" in place for place in left)
    assert any("session_" in place for place in left)
    assert any("mlflow" in place and place.endswith(":rows") for place in left)
    assert leaks(given.canaries, left) == []


def test_nothing_that_is_asked_of_it_says_a_secret(given: Given, tmp_path: Path) -> None:
    environment = {**os.environ, "TUNESMITH_HOME": str(given.home.root), "COLUMNS": "200"}
    tunesmith = Path(sys.executable).parent / "tunesmith"
    said = {}
    for words in (
        ["status", "--json"], ["status"], ["doctor"], ["environment"], ["webhooks", "list", "--json"],
        ["keys", "list", "--json"], ["admin", "backup", str(tmp_path / "backup")],
        *(["tasks", what, task.id] for task in given.tasks.values() for what in ("show", "logs")),
    ):  # fmt: skip
        done = subprocess.run([tunesmith, *words], env=environment, capture_output=True, check=False)
        assert done.stdout or words[0] == "tasks", (words, done.stderr)
        said[" ".join(words)] = done.stdout + done.stderr
    headers = {"Authorization": f"Bearer {read_secret(given.home.ray_token_file)}"}
    ray = given.home.connection().ray_url or ""
    for path in (
        "/api/jobs/",
        "/api/v0/actors?detail=1",
        "/api/v0/tasks?detail=1",
        "/api/v0/workers?detail=1",
    ):
        said[path] = httpx.get(f"{ray}{path}", headers=headers, timeout=60, trust_env=False).content
        assert said[path]
    said |= files_below(tmp_path)
    assert len(said) > 17, "thirteen commands, four of Ray's tables, and the backup"
    assert leaks(given.canaries, said) == []


def test_users_are_told_why_all_the_same(given: Given) -> None:
    words = str(given.tasks["loaded"].message)
    assert "org/talks" in words
    assert given.tasks["loaded"].state is State.FAILED
    with Client(home=given.home) as client:
        codes = {getattr(event.payload, "code", None) for event in client.events(given.tasks["train"].id)}
    assert "tracker_failed" in codes
