"""Webhooks, to a real HTTP server: signed, retried, each event once; what administrators see of them."""

import concurrent.futures
import datetime as dt
import logging
import re

import pytest
from conftest_platform import LOCAL, Plane
from fastapi.testclient import TestClient
from receivers import Hook, add, end, let_pass, log_of, notifier

from tunesmith.lifecycle import REASONS, Reason
from tunesmith.notifications import NewWebhook, NoticeEvent, sign, verify
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import TaskRow, WebhookRow
from tunesmith_platform.notifications import messages
from tunesmith_platform.notifications.service import PAUSES
from tunesmith_platform.quota.service import NewGrant, QuotaChange
from tunesmith_platform.scope import Scope

pytestmark = pytest.mark.usefixtures("private_addresses")


def test_a_failure_is_posted_once_and_signed(plane: Plane, hook: Hook) -> None:
    added = add(plane, hook)
    task = end(plane)
    for _ in range(3):
        notifier(plane).tick()
    (posted,) = hook.posts
    assert posted.data["event"] == "failed"
    assert posted.data["task"]["id"] == task.id
    assert posted.data["task"]["fault"] == "user"
    assert posted.data["task"]["next_step"]
    signature = posted.headers["X-Tunesmith-Signature"]
    assert verify(added.secret, posted.body, signature)
    assert not verify(added.secret, posted.body + b" ", signature)
    assert not verify("whsec_other", posted.body, signature)
    assert not verify(added.secret, posted.body, sign(added.secret, posted.body, 1))
    (entry,) = log_of(plane)
    assert (entry.state, entry.tries, entry.status) == ("delivered", 1, 200)
    assert posted.headers["X-Tunesmith-Delivery"] == str(entry.id)


@pytest.mark.parametrize("signature", ["", "x", "t=,v1=", "t=1e9,v1=a", "t=1,t=2", "v1=abc", "t=" + "9" * 40])
def test_a_broken_signature_is_no_signature(signature: str) -> None:
    assert not verify("s", b"{}", signature)


@pytest.mark.parametrize(
    ("outcome", "reason", "event"),
    [
        ("completed", "completed", "finished"),
        ("failed", "bad_data", "failed"),
        ("stopped", "stopped_by_user", "stopped"),
    ],
)
def test_each_end_has_its_event(plane: Plane, hook: Hook, outcome: str, reason: str, event: str) -> None:
    others = [e for e in NoticeEvent if e not in (event, NoticeEvent.TEST)]
    add(plane, hook, events=others)
    wanted = add(plane, hook, events=[NoticeEvent(event)])
    end(plane, outcome, reason)
    notifier(plane).tick()
    assert [(entry.receiver, entry.event) for entry in log_of(plane)] == [(wanted.id, event)]


def test_a_webhook_of_a_project_hears_of_that_project(plane: Plane, hook: Hook) -> None:
    add(plane, hook, project="mine")
    end(plane, project="yours")
    task = end(plane, project="mine")
    notifier(plane).tick()
    assert [posted.data["task"]["id"] for posted in hook.posts] == [task.id]


def test_a_low_quota_is_notified_of(plane: Plane, hook: Hook) -> None:
    add(plane, hook)
    plane.services.quota.change(LOCAL, "default", QuotaChange(enabled=True, low_threshold=5))
    plane.services.quota.grant(LOCAL, "default", NewGrant(amount=3), None)
    plane.submit(spec={"max_steps": 10})
    notifier(plane).tick()
    assert [posted.data["event"] for posted in hook.posts] == ["quota_low"]


def test_what_happened_before_is_no_news(plane: Plane, hook: Hook) -> None:
    end(plane)
    notifier(plane).tick()
    add(plane, hook)
    notifier(plane).tick()
    assert hook.posts == []


def test_a_failed_try_comes_again_with_longer_pauses_until_it_is_given_up(plane: Plane, hook: Hook) -> None:
    add(plane, hook)
    end(plane)
    hook.answers = [500] * 20
    pauses = []
    for _ in range(len(PAUSES)):
        notifier(plane).tick()
        (entry,) = log_of(plane)
        assert (entry.state, entry.status, entry.message) == ("pending", 500, "It answered 500.")
        pauses.append(entry.next_at - now())
        notifier(plane).tick()  # it is not due: nothing is sent
        let_pass(plane)
    assert len(hook.posts) == len(PAUSES)
    assert pauses == sorted(pauses)
    assert pauses[0] < dt.timedelta(seconds=6) < pauses[1]
    notifier(plane).tick()
    (entry,) = log_of(plane)
    assert (entry.state, entry.tries) == ("failed", len(PAUSES) + 1)
    bodies = {posted.body for posted in hook.posts}
    assert len(bodies) == 1, "a retry is the same"
    assert len({posted.headers["X-Tunesmith-Delivery"] for posted in hook.posts}) == 1


def test_a_receiver_that_comes_back_gets_it(plane: Plane, hook: Hook) -> None:
    add(plane, hook)
    end(plane)
    hook.answers = [503]
    notifier(plane).tick()
    let_pass(plane)
    notifier(plane).tick()
    (entry,) = log_of(plane)
    assert (entry.state, entry.tries, len(hook.posts)) == ("delivered", 2, 2)


def test_a_process_that_died_while_sending_is_followed_by_another(plane: Plane, hook: Hook) -> None:
    add(plane, hook)
    end(plane)
    service = plane.services.notifications
    service.enqueue()
    assert len(service.claim_due(4)) == 1  # and dies
    notifier(plane).tick()
    assert hook.posts == [], "it may still be on its way"
    let_pass(plane)
    notifier(plane).tick()
    assert len(hook.posts) == 1


def test_many_loops_side_by_side_send_each_once(plane: Plane, hook: Hook) -> None:
    add(plane, hook)
    tasks = [end(plane) for _ in range(6)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: notifier(plane).tick(), range(8)))
    assert sorted(posted.data["task"]["id"] for posted in hook.posts) == sorted(task.id for task in tasks)


def test_a_webhook_is_told_in_its_language(plane: Plane, hook: Hook) -> None:
    add(plane, hook, language="zh")
    add(plane, hook)
    end(plane, name="余烬", reason="out_of_memory")
    plane.services.quota.change(LOCAL, "default", QuotaChange(enabled=True, low_threshold=5))
    plane.services.quota.grant(LOCAL, "default", NewGrant(amount=3), None)
    plane.submit(spec={"max_steps": 10}, name="微光")
    notifier(plane).tick()
    said = {(posted.data["language"], posted.data["event"]): posted.data for posted in hook.posts}
    assert said["zh", "failed"]["text"] == "任务 余烬 失败。 内存或显存不足。 Step 3."
    assert "`max_length`" in said["zh", "failed"]["task"]["next_step"]
    assert said["zh", "quota_low"]["text"].startswith("任务 微光 的训练配额即将用尽。")
    assert said["en", "failed"]["text"] == "Task 余烬 has failed. Step 3."
    assert said["en", "quota_low"]["task"]["warning"] == "quota_low"
    hooks = plane.services.notifications.page(LOCAL, None, 10).data
    assert [item.language for item in hooks] == ["zh", "en"]
    plane.services.notifications.test(LOCAL, hooks[0].id)
    assert hook.posts[-1].data["text"] == "这是 Tunesmith 通知的测试。"


def test_every_reason_has_chinese_words() -> None:
    for reason in Reason:
        found = messages._in_chinese(reason, None, REASONS[reason].words, REASONS[reason].next_step)
        assert all(re.search(r"[\u4e00-\u9fff]", text or "") for text in found), reason


# --- over HTTP


def test_webhooks_over_http(
    plane: Plane, client: TestClient, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    added = client.post("/v1/webhooks", json={"url": hook.url}).json()
    assert client.post("/v1/webhooks", json={"url": hook.url, "event": []}).status_code == 422
    assert client.post("/v1/webhooks", json={"url": "ftp://x.example/y"}).status_code == 422
    tested = client.post(f"/v1/webhooks/{added['id']}:test").json()
    assert (tested["state"], tested["status"]) == ("delivered", 200)
    assert verify(added["secret"], hook.posts[0].body, hook.posts[0].headers["X-Tunesmith-Signature"])
    hook.answers = [500]
    assert client.post(f"/v1/webhooks/{added['id']}:test").json()["state"] == "failed", "a test is tried once"
    listed = client.get("/v1/webhooks").text
    deliveries = client.get("/v1/deliveries", params={"receiver": added["id"]})
    assert [entry["status"] for entry in deliveries.json()["data"]] == [500, 200]
    for secret in (added["secret"], "query-secret"):
        for place in (listed, deliveries.text):
            assert secret not in place
    ours = "".join(record.getMessage() for record in caplog.records if not record.name.startswith("http"))
    assert added["secret"] not in ours
    assert added["secret"].encode() not in plane.home.database.read_bytes()
    assert client.delete(f"/v1/webhooks/{added['id']}").status_code == 204
    assert client.get("/v1/webhooks").json()["data"] == []
    assert client.post(f"/v1/webhooks/{added['id']}:test").status_code == 404
    assert client.post("/v1/webhooks/email:test").status_code == 422, "no mail server is set"


def test_only_administrators_see_webhooks(plane: Plane, client: TestClient) -> None:
    user = {"Authorization": f"Bearer {plane.key('ann')}"}
    assert client.get("/v1/webhooks", headers=user).status_code == 403
    assert client.post("/v1/webhooks", json={"url": "https://example.com/"}, headers=user).status_code == 403
    assert client.get("/v1/deliveries", headers=user).status_code == 403


def test_a_deleted_task_leaves_its_deliveries(plane: Plane, hook: Hook) -> None:
    add(plane, hook)
    task = end(plane)
    plane.services.notifications.enqueue()
    plane.services.tasks.delete(LOCAL, task.id, with_files=False)
    notifier(plane).tick()
    assert [posted.data["task"]["id"] for posted in hook.posts] == [task.id]
    with plane.services.database.read() as session:
        assert session.query(WebhookRow).count() == 1


@pytest.mark.parametrize("bound", ["owners", "projects"])
def test_a_webhook_hears_of_what_its_owner_may_see(
    plane: Plane, hook: Hook, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """Of another's task neither the payload nor the delivery log says anything."""
    project = {"local": "default", "other": "theirs"} if bound == "projects" else {}
    narrow = {
        who: Scope(
            owner=who,
            project=project.get(who, "default"),
            **{bound: frozenset([project[who] if project else who])},
        )
        for who in ("local", "other")
    }
    monkeypatch.setattr(Scope, "of_administrator", classmethod(lambda cls, row: narrow[row.owner]))
    mine = add(plane, hook)
    theirs = plane.services.notifications.add(narrow["other"], NewWebhook(url=hook.url))
    tasks = [end(plane), end(plane)]
    with plane.services.database.write() as session:
        row = session.get_one(TaskRow, tasks[1].id)
        row.owner, row.project = "other", project.get("other", "default")
    notifier(plane).tick()
    logged = {entry.task_id: entry.receiver for entry in log_of(plane)}
    assert logged == {tasks[0].id: mine.id, tasks[1].id: theirs.id}
    assert len(hook.posts) == 2
    service = plane.services.notifications
    for who, task in (("local", tasks[0]), ("other", tasks[1])):
        seen = service.deliveries(narrow[who], None, None, 100).data
        assert [entry.task_id for entry in seen] == [task.id], who


def test_how_a_post_of_anothers_task_went_is_the_webhook_owners(plane: Plane, hook: Hook) -> None:
    """Who sees everything hears of all; the log of its posts names its URL, which is nobody else's."""
    add(plane, hook)
    task = end(plane)
    with plane.services.database.write() as session:
        session.get_one(TaskRow, task.id).owner = "other"
    notifier(plane).tick()
    (entry,) = log_of(plane)
    assert entry.task_id == task.id
    service = plane.services.notifications
    assert service.deliveries(Scope(owner="other").own(), None, None, 100).data == []
    assert len(service.deliveries(LOCAL.own(), None, None, 100).data) == 1
