"""Packages take room: they are counted, kept by a rule, removed with nothing else, and what is in use stays."""

import datetime as dt
import shutil
from pathlib import Path

import pytest
from conftest_platform import LOCAL, Plane
from ended_tasks import error_of
from fastapi.testclient import TestClient
from package_bench import FILE, Bench

from tunesmith.language import Language, tr
from tunesmith_platform.db.tables import ChatRow
from tunesmith_platform.packaging import loop as removing
from tunesmith_platform.packaging.kept import KeptPackages
from tunesmith_platform.packaging.retention import Model, Package, Rule, judged
from tunesmith_platform.tasks import files

NOW = dt.datetime(2026, 11, 30, tzinfo=dt.UTC)


@pytest.fixture
def bench(plane: Plane, client: TestClient, tiny_model: Path) -> Bench:
    return Bench(plane, client, tiny_model)


@pytest.fixture
def another_model(tiny_model: Path, plane: Plane, tmp_path: Path) -> Path:
    plane.settings.allowed_roots.append(tmp_path)
    return Path(shutil.copytree(tiny_model, tmp_path / "another"))


@pytest.mark.parametrize(
    ("rule", "gone"),
    [
        (Rule(0, 0), ""),
        (Rule(2, 0), "a1 a2"),
        (Rule(1, 0), "a1 a2 a4 b1"),
        (Rule(0, 15), "a1 a2"),
        (Rule(1, 15), "a1 a2"),
        (Rule(9, 0), ""),
    ],
)
def test_what_a_rule_keeps(rule: Rule, gone: str) -> None:
    """Newest of each training, or young enough; `a3` of 40 days is pinned and stays under every rule."""
    days = {"a1": 50, "a2": 30, "a4": 10, "a5": 1, "b1": 12, "b2": 11}
    packages = [
        Package(name, Model("p", name[0]), NOW - dt.timedelta(days=age), None) for name, age in days.items()
    ] + [Package("a3", Model("p", "a"), NOW - dt.timedelta(days=40), "it is pinned")]
    found = judged(packages, rule, NOW)
    assert {one.task_id for one in found if one.goes} == set(gone.split())
    assert next(one.why for one in found if one.task_id == "a3") in ("it is pinned", "nothing is removed")
    assert all(tr(one.why, Language.ZH) != one.why for one in found), "each is told in Chinese too"


def test_packages_of_models_that_no_task_trained_are_kept_by_the_rule(
    bench: Bench, another_model: Path
) -> None:
    """A base by its path or by its name here, and the base of a LoRA alone, are one model; its LoRA is another."""
    client = bench.client
    registered = client.post("/v1/models", json={"name": "mine", "source": str(bench.model)})
    assert registered.status_code == 201, registered.text
    training = bench.trained({8: 1.0}, use_lora=True)
    base = {
        bench.packaged(model_name_or_path=str(bench.model)).id: "by its path",
        bench.packaged(model_name_or_path="mine").id: "by its name",
        bench.packaged(training, preset="quantize_base").id: "the base of a LoRA",
    }
    *old, _ = base
    others = [
        bench.packaged(training).id,
        bench.packaged(model_name_or_path=str(another_model)).id,
        bench.packaged(model_name_or_path=str(bench.model), project="theirs").id,
    ]
    shown = {one["task_id"]: one["of"] for one in client.get("/v1/packages").json()["data"]}
    assert [shown[one] for one in (*base, *others)] == [
        str(bench.model), "mine", "m", "t", str(another_model), str(bench.model),
    ]  # fmt: skip
    verdicts = client.post("/v1/packages:prune", json={"keep_last": 1, "dry_run": False}).json()["packages"]
    assert {one["task_id"]: one["goes"] for one in verdicts} == {
        one: one in old for one in (*base, *others)
    }, base
    assert [uri_of(bench, one).is_dir() for one in others] == [True] * 3


def uri_of(bench: Bench, task_id: str) -> Path:
    return Path(bench.client.get(f"/v1/tasks/{task_id}/package").json()["uri"])


def test_packages_are_listed_with_what_they_take_and_counted(bench: Bench) -> None:
    bench.client.put("/v1/quota/default", json={"enabled": True})
    bench.client.post("/v1/quota/default/grants", json={"amount": 9})
    training = bench.trained({8: 1.0})
    before = bench.client.get("/v1/quota/default").json()
    task = bench.packaged(training)
    (one,) = bench.client.get("/v1/packages", params={"of_task": training.id}).json()["data"]
    assert (one["task_id"], one["of_task_id"], one["step"]) == (task.id, training.id, 8)
    assert one["bytes"] == 8000, "the two files that were reported"
    after = bench.client.get("/v1/quota/default").json()
    assert (after["packages"], after["package_bytes"]) == (1, 8000)
    assert (after["charged"] - before["charged"], after["reserved"]) == (1, before["reserved"])
    assert bench.client.get("/v1/packages", params={"of_task": task.id}).json()["data"] == []


def test_a_package_that_the_quota_does_not_cover_is_refused(bench: Bench) -> None:
    training = bench.trained({8: 1.0})
    bench.client.put("/v1/quota/default", json={"enabled": True})
    error = error_of(bench.package(task_id=training.id, preset="merge_and_quantize"))
    assert (error.code, "makes a package" in error.message) == ("quota_exceeded", True)
    assert bench.package(task_id=training.id).status_code == 201, "a model folder is none"


def test_a_dry_run_says_what_the_removal_then_does(bench: Bench, tmp_path: Path) -> None:
    training = bench.trained({8: 1.0})
    old, middle, new = (bench.packaged(training) for _ in range(3))
    places = {task.id: uri_of(bench, task.id) for task in (old, middle, new)}
    bystander = places[old.id] / "mine.txt"
    bystander.write_text("somebody's")
    assert bench.client.post(f"/v1/tasks/{middle.id}/package:pin").json()["is_pinned"]
    dry = bench.client.post("/v1/packages:prune", json={"keep_last": 1}).json()
    assert dry["is_dry"]
    assert {one["task_id"]: one["goes"] for one in dry["packages"]} == {
        old.id: True,
        middle.id: False,
        new.id: False,
    }
    assert all((place / FILE).exists() for place in places.values()), "nothing was removed"
    done = bench.client.post("/v1/packages:prune", json={"keep_last": 1, "dry_run": False}).json()
    assert {one["task_id"]: one["goes"] for one in done["packages"]} == {
        one["task_id"]: one["goes"] for one in dry["packages"]
    }
    assert done["bytes"] == dry["bytes"] == 8000
    assert [(place / FILE).exists() for place in places.values()] == [False, True, True]
    assert bystander.read_text() == "somebody's"
    gone = bench.client.get(f"/v1/tasks/{old.id}/package")
    assert (gone.status_code, "was removed" in gone.text) == (404, True)
    assert bench.client.get(f"/v1/tasks/{old.id}/package/files/{FILE}").status_code == 404
    assert bench.client.get("/v1/quota/default").json()["package_bytes"] == 16000
    lines = bench.client.get(f"/v1/tasks/{old.id}/events").json()["data"]
    assert any("files are removed" in str(line) for line in lines), "the task's log says it"


def test_what_a_task_uses_stays(bench: Bench) -> None:
    task = bench.packaged(bench.trained({8: 1.0}))
    spec = {"task_id": task.id, "repo_id": "a/b"}
    assert bench.client.post("/v1/tasks", json={"kind": "upload", "spec": spec}).status_code == 201
    found = bench.client.post("/v1/packages:prune", json={"keep_days": 1e-9, "dry_run": False}).json()
    (stays,) = found["packages"]
    assert (stays["goes"], "uses it" in stays["why"]) == (False, True)
    assert (uri_of(bench, task.id) / FILE).exists()


def test_what_a_chat_pins_stays(bench: Bench) -> None:
    """Whoever's chat it is, and whether its task is there: what is pinned is loaded again."""
    task = bench.packaged(bench.trained({8: 1.0}))
    file = str(uri_of(bench, task.id) / FILE)
    row = {
        "owner": "another",
        "project": "theirs",
        "base_key": "b",
        "base": "/m",
        "start": "s",
        "state": "idle",
    }
    row |= {"message": "", "loaded": {}, "first": {}, "created_at": NOW, "asked_at": NOW}
    with bench.plane.services.database.write() as session:
        session.add(ChatRow(**row, pinned=[{"name": "t:Q4_K_M", "model_uri": file}]))
    found = bench.client.post("/v1/packages:prune", json={"keep_days": 1e-9, "dry_run": False}).json()
    assert [one["goes"] for one in found["packages"]] == [False]
    assert Path(file).exists()


def test_a_removal_that_was_cut_off_is_gone_on_with(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed behind the mark, before a file went: it is not handed out, and the loop ends it."""
    task = bench.packaged(bench.trained({8: 1.0}))
    place = uri_of(bench, task.id)
    kept: KeptPackages = bench.plane.services.kept_packages

    class Killed(BaseException):
        pass

    def killed(*_: object) -> bool:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(files, "remove_result_of", killed)
        with pytest.raises(Killed):
            kept.remove(LOCAL, task.id, "test")
    assert (place / FILE).exists()
    assert bench.client.get(f"/v1/tasks/{task.id}/package/files/{FILE}").status_code == 404
    assert kept.unfinished(LOCAL) == [task.id]
    services = bench.plane.services
    loop = removing.PackageRetention(kept, services.database, services.hub)
    loop.tick()
    loop.end()
    assert (kept.unfinished(LOCAL), place.exists()) == ([], False)


def test_the_settings_rule_is_kept_by_the_loop(bench: Bench) -> None:
    training = bench.trained({8: 1.0})
    old, new = bench.packaged(training), bench.packaged(training)
    places = [uri_of(bench, task.id) for task in (old, new)]
    services = bench.plane.services
    idle = removing.PackageRetention(services.kept_packages, services.database, services.hub)
    idle.tick()
    idle.end()
    assert [place.exists() for place in places] == [True, True], "nothing is removed where nothing is said"
    bench.plane.settings.package_keep_last = 1
    loop = removing.PackageRetention(services.kept_packages, services.database, services.hub)
    loop.tick()
    loop.end()
    assert [place.exists() for place in places] == [False, True]


@pytest.mark.parametrize("copies", [False, True])
def test_mlflow_shows_a_package_and_keeps_no_bytes_of_it(bench: Bench, copies: bool) -> None:
    task = bench.packaged(bench.trained({8: 1.0}))
    plane, services = bench.plane, bench.plane.services
    plane.mirror._copies_packages = copies
    plane.mirror.tick()
    run = next(run for run in plane.tracking.runs.values() if run.tags["tunesmith.task_id"] == task.id)
    points = {point.name: point.value for point in run.points}
    assert (points["package_Q4_K_M_kl"], points["package_Q4_K_M_bytes"]) == (0.07, 4000)
    assert not any("F16" in name for name in points), "a failed one is no result"
    assert run.tags["tunesmith.package_uri"] == str(uri_of(bench, task.id))
    shown = Path(run.run.artifact_uri) / "package"
    if copies:
        assert (shown / FILE).read_bytes() == (uri_of(bench, task.id) / FILE).read_bytes()
    else:
        assert not (shown / FILE).exists(), "its bytes would stay behind"
        assert (shown / "SHA256SUMS.txt").read_text().split()[1] == FILE
        assert str(uri_of(bench, task.id)) not in (shown / "package.json").read_text()
    services.kept_packages.remove(LOCAL, task.id, "test")
    assert not (shown / FILE).exists(), "what is removed is removed there too"
    assert bench.client.delete(f"/v1/tasks/{task.id}", params={"files": True}).status_code == 204
    assert not shown.exists()


def test_deleting_a_package_takes_what_was_published_too(bench: Bench, tmp_path: Path) -> None:
    """A copy in its user's folder is the task's by its manifest, as a checkpoint's is."""
    task = bench.packaged(bench.trained({8: 1.0}))
    left = files.TaskFiles(
        task.id, tmp_path / "work", str(tmp_path / "documents"), None, None, tmp_path.resolve() / "out"
    )
    target = tmp_path / "out" / "package"
    target.parent.mkdir()
    shutil.copytree(uri_of(bench, task.id), target)
    assert left.published() == [target.resolve()]
    files.remove(left)
    assert not target.exists()
