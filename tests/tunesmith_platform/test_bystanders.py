"""Every place where the control plane removes something: what others laid there, or behind a link, survives."""

import datetime as dt
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest_platform import Plane
from ended_tasks import end, folder, look_at_little, saved
from fastapi.testclient import TestClient
from pipeline_bench import Bench

from tunesmith.artifacts import Manifest, list_files
from tunesmith.removal import claim
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.clock import new_id
from tunesmith_platform.datasets import uploads
from tunesmith_platform.estimates import counter as counters
from tunesmith_platform.estimates import measure
from tunesmith_platform.mirror import artifact_links
from tunesmith_platform.runners.pool import RunnerPool
from tunesmith_platform.sandbox.count_tokens import CountSource
from tunesmith_platform.tasks import stop_markers
from tunesmith_platform.tasks.inputs import TrainInputs

ROW = json.dumps(
    {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
).encode()


class Scene:
    """A plane, and the files that are not its own."""

    def __init__(self, plane: Plane, client: TestClient, root: Path) -> None:
        self.plane = plane
        self.client = client
        self.root = root
        self.theirs: list[Path] = []
        self.gone: list[Path] = []

    def bystander(self, *places: Path) -> None:
        for place in places:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("by hand")
            self.theirs.append(place)

    def behind(self, link: Path) -> None:
        """A link where something of ours would be, to a folder of the user's."""
        elsewhere = self.root / f"elsewhere-{len(self.theirs)}"
        self.bystander(elsewhere / "deep" / "file")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(elsewhere)


def cut_off(target: Path, task_id: str) -> Path:
    """What a save leaves beside its place when its process is killed."""
    stage = target.with_name(f".{target.name}.{task_id}.part")
    claim(stage, task_id)
    (stage / "new").mkdir()
    (stage / "new" / "weights").write_text("half")
    return stage


def deletion_of_a_task(scene: Scene) -> None:
    out = scene.root / "out"
    task = scene.plane.running(spec={"output_dir": str(out)})
    artifacts = Path(scene.plane.task(task.id).artifact_uri or "")
    checkpoint = saved(scene.plane, task, 10)
    published = folder(scene.plane, task, str(out / "checkpoint-10"))
    (artifacts / "tensorboard").mkdir()
    (artifacts / "tensorboard" / "events.out.tfevents.1").write_text("ours")
    work = scene.plane.settings.work_dir / task.id
    (work / "scratch" / "1").mkdir(parents=True)
    scene.gone = [
        checkpoint / "weights",
        published / "weights",
        work,
        artifacts / "tensorboard" / "events.out.tfevents.1",
        cut_off(artifacts / "checkpoints" / "checkpoint-15", task.id),
        cut_off(artifacts / "model", task.id),
        cut_off(out / "checkpoint-15", task.id),
    ]
    folder(scene.plane, task, str(out / "checkpoint-11"), "task-0other")
    scene.bystander(
        artifacts / "report.md",
        artifacts / "tensorboard" / "notes.txt",
        artifacts / "checkpoints" / "best.txt",
        checkpoint / "notes.txt",
        published / "deep" / "notes.txt",
        out / "notes.txt",
        out / "checkpoint-11" / "weights",
        out / "checkpoint-12" / "weights",
        cut_off(out / "checkpoint-16", "task-0other") / "new" / "notes.txt",
        work.with_name("notes.txt"),
        work.with_name("mine") / "file",
        scene.plane.home.files / "tasks" / task.id / "notes.txt",
        scene.plane.home.files / "notes.txt",
    )
    scene.behind(out / "checkpoint-13")
    scene.behind(artifacts / "checkpoints" / "checkpoint-14")
    scene.behind(work / "scratch" / "link")
    end(scene.plane, task)
    assert scene.client.delete(f"/v1/tasks/{task.id}", params={"files": True}).status_code == 204


def deletion_of_a_task_whose_work_folder_is_a_link(scene: Scene) -> None:
    task = scene.plane.running()
    end(scene.plane, task)
    scene.behind(scene.plane.settings.work_dir / task.id)
    assert scene.client.delete(f"/v1/tasks/{task.id}", params={"files": True}).status_code == 204


def data_set(scene: Scene) -> str:
    begun = scene.client.post("/v1/uploads", json={"file_name": "a.jsonl", "bytes": len(ROW)}).json()
    scene.client.put(f"/v1/uploads/{begun['id']}?offset=0", content=ROW)
    made = scene.client.post(f"/v1/uploads/{begun['id']}:finish")
    assert made.status_code == 201, made.text
    return str(made.json()["name"])


def deletion_of_a_data_set(scene: Scene) -> None:
    name = data_set(scene)
    (place,) = (scene.plane.home.files / "datasets").iterdir()
    scene.gone = [place / "a.jsonl"]
    cache = scene.plane.settings.work_dir / "datasets" / place.name
    scene.bystander(place / "notes.txt", place.with_name("mine") / "x", cache / "notes.txt")
    assert scene.client.delete(f"/v1/datasets/{name}").status_code == 204


def finishing_an_upload(scene: Scene) -> None:
    begun = scene.client.post("/v1/uploads", json={"file_name": "a.jsonl", "bytes": len(ROW)}).json()
    scene.client.put(f"/v1/uploads/{begun['id']}?offset=0", content=ROW)
    part = scene.plane.home.root / "uploads" / f"{begun['id']}.part"
    staging = part.with_name(f"{part.name}-{hashlib.sha256(ROW).hexdigest()[:12]}")
    scene.bystander(staging / "file.txt", staging / "a.jsonl", part.with_name("notes.part"))
    assert scene.client.post(f"/v1/uploads/{begun['id']}:finish").status_code == 201


def giving_up_uploads(scene: Scene) -> None:
    begun = scene.client.post("/v1/uploads", json={"file_name": "a.jsonl", "bytes": 9}).json()
    old = scene.client.post("/v1/uploads", json={"file_name": "b.jsonl", "bytes": 9}).json()
    home = scene.plane.home.root / "uploads"
    scene.gone = [home / f"{begun['id']}.part"]
    scene.bystander(home / "x.part", home / "deep" / "y.part", home / f"{old['id']}.part.txt")
    (home / f"{old['id']}.part").unlink()
    scene.behind(home / f"{old['id']}.part")
    for upload in (begun, old):
        assert scene.client.delete(f"/v1/uploads/{upload['id']}").status_code == 204


def deletion_of_a_pipeline(scene: Scene) -> None:
    data = scene.plane.home.models / "data"
    data.mkdir(parents=True)
    bench = Bench(scene.plane, scene.client, data)
    for name in ("a.jsonl", "b.jsonl"):
        bench.write(name, range(4))
    scene.plane.training.look_at = lambda scope, spec: TrainInputs(model_path="/m", train_path="/t")
    made = bench.made()
    view = bench.worked(made)
    bench.end_task(str(view.steps[5].task_id))
    bench.worked(made)
    rows = scene.plane.settings.pipelines_dir / made.id
    steps = [child for child in rows.iterdir() if (child / "data.jsonl").is_file()]
    assert steps, "steps made rows"
    (steps[0] / ".tunesmith-made").unlink()  # from before there were marks
    scene.gone = steps
    scene.bystander(rows / "notes.txt", rows / "mine" / "rows.jsonl", rows.with_name("mine") / "x")
    scene.behind(rows / "9-1")
    reply = scene.client.delete(f"/v1/pipelines/{made.id}", params={"with_files": True})
    assert reply.status_code == 204, reply.text


def counts_of_files(scene: Scene) -> None:
    kept = scene.root / "counts"
    ours = [kept / f"{number:032x}.npz" for number in range(counters._KEPT_FILES + 3)]
    kept.mkdir()
    for number, file in enumerate(ours):
        file.write_text("x")
        os.utime(file, (1000 + number, 1000 + number))
    scene.bystander(kept / "mine.npz", kept / "notes.txt")
    os.utime(kept / "mine.npz", (1, 1))
    scene.gone = ours[:3]
    counter = counters.Counter(kept)
    rows = scene.root / "rows.jsonl"
    rows.write_bytes(ROW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counter, "_count", lambda *_: None)
        spec = TrainSpec.read({"model_name_or_path": "m", "train_file": str(rows)})
        counter._count_in_background(CountSource(rows, scene.root, spec), "k")
    counter.close()


def a_runners_document(scene: Scene) -> None:
    services = scene.plane.services
    pool = RunnerPool(services.database, services.hub, scene.plane.settings, scene.plane.jobs)
    runner = new_id("runner")
    place = scene.plane.home.files / "runners" / runner
    place.mkdir(parents=True)
    (place / "attempt-1.json").write_text("{}")
    scene.gone = [place / "attempt-1.json"]
    scene.bystander(place / "notes.txt", place.with_name("notes.txt"))
    pool._remove_document(runner)


def a_measurements_documents(scene: Scene) -> None:
    place = scene.plane.home.files / measure._folder("measure-1")
    place.mkdir(parents=True)
    for name in ("attempt-1.json", "result.json"):
        (place / name).write_text("{}")
    scene.gone = [place / "attempt-1.json", place / "result.json"]
    scene.bystander(place / "notes.txt")
    measure.remove_documents(scene.plane.settings, "measure-1")


def a_runs_view_of_a_checkpoint(scene: Scene) -> None:
    run, task = scene.root / "run", scene.root / "task"
    for step, task_id in ((1, "task-a"), (2, "task-b"), (3, None)):
        place = run / "checkpoints" / f"checkpoint-{step}"
        place.mkdir(parents=True)
        (place / "weights").write_text("w")
        if task_id:
            manifest = Manifest(task_id=task_id, attempt=1, step=step, files=list_files(place))
            (place / "manifest.json").write_bytes(manifest.encode())
    scene.gone = [run / "checkpoints" / "checkpoint-1" / "weights"]
    scene.bystander(
        run / "checkpoints" / "checkpoint-1" / "notes.txt",
        run / "checkpoints" / "checkpoint-2" / "weights",
        run / "checkpoints" / "checkpoint-3" / "weights",
        run / "notes.txt",
    )
    scene.behind(run / "checkpoints" / "checkpoint-4")
    for step in (1, 2, 3, 4):
        artifact_links.hide(str(run), str(task), step, "task-a")


def a_stop_that_is_taken_up(scene: Scene) -> None:
    task = new_id("task")
    settings = scene.plane.settings
    stop_markers.leave(settings, task, 1)
    scene.bystander(
        settings.work_dir / task / "notes.txt", scene.plane.home.files / "tasks" / task / "notes.txt"
    )
    scene.gone = [settings.work_dir / task / "stop-1", scene.plane.home.files / "tasks" / task / "stop-1"]
    assert all(path.exists() for path in scene.gone)
    stop_markers.take_up(settings, task, 1)


def a_look_at_the_storage(scene: Scene) -> None:
    scene.bystander(scene.plane.home.files / ".probe-mine", scene.plane.home.files / "notes.txt")
    assert scene.client.get("/v1/system/environment").status_code == 200


PLACES = [
    deletion_of_a_task,
    deletion_of_a_task_whose_work_folder_is_a_link,
    deletion_of_a_data_set,
    finishing_an_upload,
    giving_up_uploads,
    deletion_of_a_pipeline,
    counts_of_files,
    a_runners_document,
    a_measurements_documents,
    a_runs_view_of_a_checkpoint,
    a_stop_that_is_taken_up,
    a_look_at_the_storage,
]


@pytest.mark.parametrize("place", PLACES)
def test_a_bystander_survives(
    plane: Plane, client: TestClient, tmp_path: Path, place: Callable[[Scene], None]
) -> None:
    look_at_little(plane)
    root = tmp_path / "user"
    root.mkdir()
    scene = Scene(plane, client, root)
    place(scene)
    assert scene.theirs
    for path in scene.theirs:
        assert path.exists(), path
        assert path.read_text() == "by hand"
    assert [path for path in scene.gone if path.exists()] == [], "what is ours goes"


def test_uploads_that_nobody_moves_go_alone(
    plane: Plane, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = client.post("/v1/uploads", json={"file_name": "a.jsonl", "bytes": 9}).json()
    part = plane.home.root / "uploads" / f"{begun['id']}.part"
    (part.parent / "mine.part").write_text("by hand")
    for file in part.parent.iterdir():
        os.utime(file, (1, 1))
    monkeypatch.setattr(uploads, "KEPT", dt.timedelta(seconds=-60))
    plane.services.uploads._give_up_old()
    assert [file.name for file in part.parent.iterdir()] == ["mine.part"]
