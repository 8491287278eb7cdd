"""Whether what answers is the model: what starts a proof, how often it is tried, what is said, what it withdraws."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from chat_bench import ChatBench, chatting, checkpoint
from conftest_platform import LOCAL
from ended_tasks import end as ended_by

from tunesmith.access import NewProject
from tunesmith.chat.proof import ProofState
from tunesmith.cli.main import run
from tunesmith.client import Client
from tunesmith.errors import Conflict, InvalidModel, NotFound
from tunesmith.home import Home
from tunesmith.lifecycle import Reason
from tunesmith.views import TaskView
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.chats import proving
from tunesmith_platform.chats.proving import ProofLoop
from tunesmith_platform.scope import Scope

ASKED: Any = [{"role": "user", "content": "?"}]
FOUND = {"kl_mean": 3e-6, "kl_p99": 1e-5, "top1": 1.0, "tokens": 1423, "conversations": 32}


class Bench:
    """The platform with a served base, and the loop that has proofs made."""

    def __init__(self, chats: ChatBench) -> None:
        self.chats, self.plane = chats, chats.plane
        self.serving = chats.serve()
        self.loop = ProofLoop(chats.plane.services)

    def loaded(self, model: str = "smol", engine: str = "llama_cpp", version: str = "2026.10") -> None:
        """A replica has loaded weights."""
        weights = self.plane.services.asking.look_up(LOCAL, model).weights
        said = {"kind": "serving", "state": "loaded", "model": model, "weights": weights}
        how = {"engine": engine, "version": version, "file_type": "F16" if engine == "llama_cpp" else "bf16"}
        self.plane.report(self.serving, said | how)

    def proofs(self) -> list[TaskView]:
        """The tasks that prove, newest first."""
        from tunesmith_platform.tasks.repository import Filter

        return list(self.plane.services.tasks.page(LOCAL, Filter(kind="prove")).data)

    def begin(self) -> TaskView:
        """The task that a round makes, at work."""
        self.loop.tick()
        task = self.proofs()[0]
        self.plane.tick()
        self.plane.job(task, JobStatus.RUNNING, task.attempt or 1)
        self.plane.tick()
        return self.plane.task(task.id)

    def find(self, state: str, words: str = "It is.", **more: Any) -> TaskView:
        """A proof that comes to this."""
        task = self.begin()
        head = {"kind": "model_proven", "engine": "llama_cpp", "version": "2026.10", "file_type": "F16"}
        said = {"state": state, "words": {"en": words, "zh": words}}
        self.plane.report(task, head | said | FOUND | more)
        ended_by(self.plane, task, Reason.COMPLETED)
        return task

    def state(self, model: str = "smol") -> ProofState:
        with Client() as client:
            return client.chats.named(model).proof.state


@pytest.fixture
def bench(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with chatting(home, monkeypatch) as chats:
        yield Bench(chats)


def test_what_was_loaded_is_proven_once_and_every_answer_says_so(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    client = bench.chats.client()
    answer = client.chat.completions.with_raw_response.create(model="smol", messages=ASKED)
    assert json.loads(answer.content)["tunesmith"] == {"proof": "pending"}
    assert answer.headers["x-tunesmith-proof"] == "pending"
    bench.loaded()
    bench.loaded()
    task = bench.find("proven", "In llama.cpp it computes what the model does.")
    assert (task.kind, task.priority, task.tags) == ("prove", -100, ["proof"])
    bench.loaded()
    bench.loop.tick()
    assert len(bench.proofs()) == 1
    with Client() as one:
        proof = one.chats.named("smol").proof
    assert (proof.state, proof.kl_mean, proof.tokens, proof.task_id) == ("proven", 3e-6, 1423, task.id)
    assert (proof.engine, proof.file_type) == ("llama_cpp 2026.10", "F16")
    answer = client.chat.completions.with_raw_response.create(model="smol", messages=ASKED)
    assert json.loads(answer.content)["tunesmith"] == {"proof": "proven"}
    chunks = list(client.chat.completions.create(model="smol", messages=ASKED, stream=True))
    assert [one.model_extra for one in chunks if one.model_extra] == [{"tunesmith": {"proof": "proven"}}]
    text = client.completions.create(model="smol", prompt="Once")
    assert text.model_extra == {"tunesmith": {"proof": "proven"}}
    assert run(["chats", "names"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "smol\tproven"
    assert run(["chats", "proof", "smol"]) == 0
    assert "computes what the model does" in capsys.readouterr().out
    bench.loaded(version="2027.01")
    assert bench.state() is ProofState.PENDING, "another engine is another proof"


@pytest.mark.parametrize("projects", [None, ["default", "search"]])
def test_what_was_asked_from_another_project_is_proven_in_its_own(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, projects: list[str] | None
) -> None:
    """By who works everywhere, and by who works in both. What serves a base is in one project, whoever's it is."""
    plane = bench.plane
    plane.services.projects.make(LOCAL, NewProject(name="search"))
    training = plane.running(name="sft", project="search")
    checkpoint(plane, training, 20)
    key = plane.key("ann", **({} if projects is None else {"projects": projects}))
    monkeypatch.setenv("TUNESMITH_API_KEY", key)
    scope = Scope(owner="ann", projects=None if projects is None else frozenset(projects))
    serving = plane.services.asking._chats.place(scope, bench.chats.base)
    bench.serving = plane.task(serving.task_id)
    assert bench.serving.project == "default"
    bench.chats.ready(bench.serving)
    weights = plane.services.asking.look_up(scope, "sft:20").weights
    said = {"kind": "serving", "state": "loaded", "model": "sft:20", "weights": weights}
    said |= {"engine": "llama_cpp", "version": "2026.10", "file_type": "F16"}
    plane.report(bench.serving, said)
    task = bench.find("proven")
    assert (task.project, task.name) == ("search", "proof sft:20")
    plane.report(bench.serving, said)
    bench.loop.tick()
    assert len(bench.proofs()) == 1
    assert bench.state("sft:20") is ProofState.PROVEN


def test_who_lost_a_project_has_nothing_proven_in_it(bench: Bench) -> None:
    plane = bench.plane
    plane.services.projects.make(LOCAL, NewProject(name="search"))
    training = plane.running(name="sft", project="search")
    checkpoint(plane, training, 20)
    plane.key("ann", projects=["default"])
    scope = Scope(owner="ann")
    bench.serving = plane.task(plane.services.asking._chats.place(scope, bench.chats.base).task_id)
    bench.chats.ready(bench.serving)
    said = {"kind": "serving", "state": "loaded", "model": "sft:20", "weights": f"{20:064x}"}
    plane.report(bench.serving, said | {"engine": "llama_cpp", "version": "2026.10", "file_type": "F16"})
    bench.loop.tick()
    assert not bench.proofs()


def test_a_failure_withdraws_the_name_and_no_other(bench: Bench) -> None:
    training = bench.plane.running(name="sft")
    checkpoint(bench.plane, training, 20)
    bench.loaded("sft:20")
    task = bench.find("failed", "3 tensors are not the model's.")
    client = bench.chats.client()
    for name in ("sft:20", "sft"):
        with pytest.raises(openai.NotFoundError) as found:
            client.chat.completions.create(model=name, messages=ASKED)
        assert "withdrawn" in str(found.value)
        assert "3 tensors are not the model's" in str(found.value)
    assert client.chat.completions.create(model="smol", messages=ASKED).choices
    checkpoint(bench.plane, training, 40)
    assert client.chat.completions.create(model="sft:40", messages=ASKED).choices
    with Client() as one:
        named = one.chats.named("sft:20")
        assert (named.proof.state, named.proof.task_id) == ("failed", task.id)
        assert {one.name: one.proof for one in one.chats.listed()}["sft:20"] is ProofState.FAILED
        assert one.chats.prove("sft:20").proof.state is ProofState.PENDING
        with pytest.raises(Conflict, match="under way"):
            one.chats.prove("sft:20")
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="sft:20", messages=ASKED)
    bench.find("proven")
    assert client.chat.completions.create(model="sft:20", messages=ASKED).choices


def test_what_ends_without_a_word_is_tried_again_a_few_times(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "_AGAIN_AFTER", dt.timedelta())
    bench.loaded()
    for number in range(3):
        task = bench.begin()
        assert len(bench.proofs()) == number + 1
        bench.loop.tick()
        assert len(bench.proofs()) == number + 1, "one at a time"
        ended_by(bench.plane, task, Reason.WORKER_LOST, message="It was killed.")
        bench.loop.tick()
    bench.loop.tick()
    assert len(bench.proofs()) == 3
    assert bench.state() is ProofState.UNPROVEN
    with Client() as client:
        assert "It was killed." in client.chats.named("smol").proof.words["en"]
        client.chats.prove("smol")
    bench.find("proven")
    assert bench.state() is ProofState.PROVEN


def test_a_loop_that_died_behind_its_submit_finds_the_same_task(bench: Bench) -> None:
    from tunesmith_platform.chats import repository

    bench.loaded()
    with bench.plane.services.database.read() as session:
        (row,) = repository.proofs_in(session, LOCAL, "pending", 5)
    made = bench.loop._submit(LOCAL, row)
    bench.loop.tick()
    assert [task.id for task in bench.proofs()] == [made.id]


def test_what_its_user_stopped_or_deleted_is_left_at_that(bench: Bench) -> None:
    bench.loaded()
    bench.plane.services.tasks.stop(LOCAL, bench.begin().id)
    ended_by(bench.plane, bench.proofs()[0], Reason.STOPPED_BY_USER)
    bench.loop.tick()
    assert bench.state() is ProofState.UNPROVEN


def test_the_library_itself_has_nothing_to_be_held_against(bench: Bench) -> None:
    bench.loaded(engine="transformers", version="5.23.0")
    bench.loop.tick()
    assert not bench.proofs()
    assert bench.state() is ProofState.SAME_ENGINE
    with pytest.raises(NotFound, match=r"not loaded by llama\.cpp"), Client() as client:
        client.chats.prove("smol")


def test_a_packages_proof_counts(bench: Bench) -> None:
    training = bench.plane.running(name="sft")
    checkpoint(bench.plane, training, 20)
    weights = bench.plane.services.asking.look_up(LOCAL, "sft:20").weights
    file = {
        "name": "checkpoint-20-lora.gguf", "type": "LoRA", "bytes": 5, "sha256": "a" * 64, "verdict": "proven",
        "sentence": {"en": "It is.", "zh": "是。"}, "kl_mean": 1e-6, "served_like": weights,
    }  # fmt: skip
    bench.plane.report(training, {"kind": "package_made", "uri": "/x", "files": [file], "version": "2026.10"})
    bench.loaded("sft:20")
    bench.loop.tick()
    assert not bench.proofs()
    assert bench.state("sft:20") is ProofState.PROVEN


def test_a_task_is_not_made_for_a_name_of_other_weights(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "_TRIES", 1)
    said = {
        "kind": "serving",
        "state": "loaded",
        "model": "smol",
        "weights": "of before",
        "engine": "llama_cpp",
    }
    bench.plane.report(bench.serving, said | {"version": "2026.10", "file_type": "F16"})
    bench.loop.tick()
    assert not bench.proofs()
    assert bench.chats.client().chat.completions.create(model="smol", messages=ASKED).choices


# --- packaged files


def package(bench: Bench, training: TaskView, step: int, **more: Any) -> TaskView:
    """A package of a checkpoint: one file in four bits, proven, and one that is not the model."""
    from tunesmith.spec.task import new_task

    new = new_task("package", {"task_id": training.id, "checkpoint": step, "preset": "model_folder"}, {})
    task, _ = bench.plane.services.tasks.create(LOCAL, new, None)
    bench.plane.tick()
    bench.plane.job(task, JobStatus.RUNNING)
    bench.plane.tick()
    found = bench.plane.services.asking.look_up(LOCAL, f"{training.id}:{step}")
    file = {
        "name": "sft-20-Q4_K_M.gguf", "type": "Q4_K_M", "bytes": 5, "sha256": "a" * 64, "verdict": "proven",
        "sentence": {"en": "It is.", "zh": "是。"}, "kl_mean": 0.07, "weights": found.weights, "source": found.uri,
    }  # fmt: skip
    bad = file | {"name": "sft-20-Q8_0.gguf", "type": "Q8_0", "sha256": "b" * 64, "verdict": "failed"}
    files = [file | more, bad]
    said = {"kind": "package_made", "uri": "/packaged/package", "files": files, "version": "2026.10"}
    bench.plane.report(task, said)
    ended_by(bench.plane, task, Reason.COMPLETED)
    return task


def test_a_packaged_file_is_called_by_its_checkpoint_and_type(bench: Bench) -> None:
    training = bench.plane.running(name="sft: v2")
    checkpoint(bench.plane, training, 20)
    made = package(bench, training, 20)
    asking = bench.plane.services.asking
    listed = {one.name: one for one in asking._names.list(LOCAL)}
    name = "sft: v2:20:Q4_K_M"
    assert name in listed
    assert "sft: v2:20:Q8_0" not in listed, "what is not the model has no name"
    for called in (name, f"{training.id}:20:Q4_K_M", "sft: v2:Q4_K_M", "sft: v2:latest:Q4_K_M"):
        weights, served = asking._names.find(LOCAL, called)
        assert (weights.weights, weights.step, weights.package_id) == ("a" * 64, 20, made.id)
        assert (served.base_path, served.is_adapter) == ("/packaged/package/sft-20-Q4_K_M.gguf", False)
        assert served.file is not None
        assert (served.file.type, served.file.sha256) == ("Q4_K_M", "a" * 64)
        assert served.encoder_path == asking._names.find(LOCAL, f"{training.id}:20")[1].encoder_path
    with Client() as client:
        named = client.chats.named(name)
        assert (named.proof.state, named.proof.kl_mean, named.proof.file_type) == ("proven", 0.07, "Q4_K_M")
        for missing in ("sft: v2:20:Q8_0", "sft: v2:20:F16", "smol:Q4_K_M"):
            with pytest.raises(NotFound, match="not packaged as"):
                client.chats.named(missing)
        assert {one.name: one.proof for one in client.chats.listed()}[name] is ProofState.PROVEN


def test_a_packaged_file_is_served_by_a_task_of_its_own(bench: Bench) -> None:
    training = bench.plane.running(name="sft")
    checkpoint(bench.plane, training, 20)
    made = package(bench, training, 20)
    asking = bench.plane.services.asking
    _, served = asking._names.find(LOCAL, "sft:20:Q4_K_M")
    task = bench.chats.serve(served.base_path)
    assert task.id != bench.serving.id
    document = bench.chats.document(task.id)
    assert (document.model_uri, document.file) == (served.base_path, served.file)
    assert document.encoder_path == served.encoder_path
    answer = bench.chats.client().chat.completions.create(model="sft:20:Q4_K_M", messages=ASKED)
    assert (answer.model, answer.model_extra) == ("sft:20:Q4_K_M", {"tunesmith": {"proof": "proven"}})
    assert bench.chats.replica.asked[-1].model.file == served.file
    bench.plane.services.tasks.stop(LOCAL, task.id)
    bench.plane.services.tasks.delete(LOCAL, made.id, with_files=False)
    with Client() as client, pytest.raises(NotFound, match="not packaged as"):
        client.chats.named("sft:20:Q4_K_M")


def test_a_file_in_several_parts_is_told_by_all_of_them(bench: Bench) -> None:
    training = bench.plane.running(name="sft")
    names = [f"sft-20-Q4_K_M-0000{number}-of-00002.gguf" for number in (1, 2)]
    asking, seen = bench.plane.services.asking, set()
    for step, last in ((20, "d"), (40, "e")):
        parts = [
            {"name": name, "bytes": 3, "sha256": letter * 64}
            for name, letter in zip(names, ("c", last), strict=True)
        ]
        checkpoint(bench.plane, training, step)
        package(bench, training, step, name=names[0], bytes=6, sha256="c" * 64, parts=parts)
        weights, served = asking._names.find(LOCAL, f"sft:{step}:Q4_K_M")
        assert served.file is not None
        assert [part.model_dump() for part in served.file.parts] == parts
        assert (served.base_path, served.file.bytes) == (f"/packaged/package/{names[0]}", 6)
        seen.add(weights.weights)
        with Client() as client:
            assert client.chats.named(f"sft:{step}:Q4_K_M").proof.state == "proven"
    assert len(seen) == 2, "their first parts are the same, and they are not"


def test_only_what_a_package_holds_is_served_as_a_file(bench: Bench) -> None:
    with pytest.raises(InvalidModel, match="file of no package"):
        bench.plane.services.asking._chats.place(LOCAL, "/etc/strange.gguf")


def test_another_llama_cpp_asks_for_another_package(bench: Bench) -> None:
    training = bench.plane.running(name="sft")
    checkpoint(bench.plane, training, 20)
    package(bench, training, 20)
    said = {"kind": "serving", "state": "loaded", "model": "sft:20:Q4_K_M", "weights": "a" * 64}
    how = {"engine": "llama_cpp", "version": "2027.01", "file_type": "Q4_K_M"}
    bench.plane.report(bench.serving, said | how)
    bench.loop.tick()
    assert not bench.proofs()
    with Client() as client:
        proof = client.chats.named("sft:20:Q4_K_M").proof
    assert (proof.state, "package it again" in proof.words["en"]) == ("unproven", True)
