"""What cannot be trained on is refused at submit, through the API, each with a stable code, its place and its cure."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from model_files import make_model_folder

from tunesmith.errors import ErrorBody, ErrorResponse
from tunesmith.home import Home
from tunesmith.job import read_secret
from tunesmith_platform.app import create_app
from tunesmith_platform.backends import compute
from tunesmith_platform.hardware import Gpu, Hardware
from tunesmith_platform.settings import Settings
from tunesmith_platform.testing.fakes import FakeJobs

Spec = dict[str, Any]
GOOD = {"messages": [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "Ember."}]}
OLD_CPU = Hardware(cpu_name="old", cpus=2, cpu_flags=frozenset({"avx2"}), gpus=())
OLD_GPU = OLD_CPU.model_copy(
    update={"gpus": (Gpu(name="T4", memory_bytes=16 * 2**30, compute_capability=7.5),)}
)


class World:
    """A model, rows and the API over them; a case spoils one thing and says what it submits instead."""

    def __init__(self, root: Path, api: TestClient, jobs: FakeJobs, patch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.api = api
        self.jobs = jobs
        self.patch = patch
        self.model = make_model_folder(root / "allowed" / "model")
        self.rows = self.data(json.dumps(GOOD))

    def data(self, *lines: str | bytes) -> Path:
        file = self.root / "allowed" / "train.jsonl"
        file.write_bytes(b"".join((x if isinstance(x, bytes) else x.encode()) + b"\n" for x in lines))
        return file

    def row(self, *roles: str) -> str:
        return json.dumps({"messages": [{"role": role, "content": "Hello."} for role in roles]})

    def on(self, hardware: Hardware, **spec: Any) -> Spec:
        self.patch.setattr(compute, "hardware", lambda: hardware)
        self.jobs.has = dataclasses.replace(self.jobs.has, gpus=len(hardware.gpus))
        return spec

    def submit(self, **spec: Any) -> Any:
        given = {"model_name_or_path": str(self.model), "train_file": str(self.rows)} | spec
        return self.api.post("/v1/tasks", json={"spec": given})


@pytest.fixture
def world(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    settings = Settings(home=home.root, run_loops=False, allowed_roots=[tmp_path / "allowed"])
    jobs = FakeJobs()
    with TestClient(create_app(settings, jobs), raise_server_exceptions=False) as api:
        api.headers["Authorization"] = f"Bearer {read_secret(home.api_key_file)}"
        yield World(tmp_path, api, jobs, monkeypatch)


def refusal(reply: Any) -> ErrorBody:
    assert 400 <= reply.status_code < 500, reply.text
    return ErrorResponse.model_validate(reply.json()).error


def renamed(file: str, name: str) -> Callable[[World], Spec]:
    """The model's folder with one file under another name."""

    def spoil(world: World) -> Spec:
        (world.model / file).rename(world.model / name)
        return {}

    return spoil


def as_file(name: str) -> Callable[[World], Spec]:
    """One file given where a model's folder is asked for."""

    def spoil(world: World) -> Spec:
        (world.model / "model.safetensors").rename(world.root / "allowed" / name)
        return {"model_name_or_path": str(world.root / "allowed" / name)}

    return spoil


def added(name: str, text: str = "") -> Callable[[World], Spec]:
    """The model's folder with one file more."""
    return lambda world: ((world.model / name).write_text(text), {})[1]


def rows(*lines: str | bytes) -> Callable[[World], Spec]:
    return lambda world: (world.data(*lines), {})[1]


def roles(*names: str) -> Callable[[World], Spec]:
    return lambda world: (world.data(json.dumps(GOOD), world.row(*names)), {})[1]


def spec(**values: Any) -> Callable[[World], Spec]:
    return lambda _: values


def by_link(field: str) -> Callable[[World], Spec]:
    """A link inside an allowed root that leads out of it."""

    def spoil(world: World) -> Spec:
        link = world.root / "allowed" / "link"
        link.symlink_to(world.root)
        return {field: str(link / "out")}

    return spoil


def inside(field: str, path: str) -> Callable[[World], Spec]:
    return lambda world: {field: str(world.root / "allowed" / path)}


MODEL, TRAIN, OUT = "spec.model_name_or_path", "spec.train_file", "spec.output_dir"
TWO = json.dumps(GOOD)


@pytest.mark.parametrize(
    ("spoil", "code", "field", "said", "cure"),
    [
        # --- the model
        (renamed("model.safetensors", "model.gguf"), "invalid_model", MODEL, "GGUF", "safetensors"),
        (as_file("model.gguf"), "invalid_model", MODEL, "GGUF", "safetensors"),
        (renamed("model.safetensors", "pytorch_model.bin"), "invalid_model", MODEL, "pickle", "save_pretrained"),
        (as_file("pytorch_model.bin"), "invalid_model", MODEL, "pickle", "save_pretrained"),
        (renamed("config.json", "x.json"), "invalid_model", MODEL, "no `config.json`", "Copy it"),
        (renamed("model.safetensors", "x"), "invalid_model", MODEL, "no weights", "Copy them"),
        (renamed("tokenizer.json", "x.json"), "invalid_model", MODEL, "no `tokenizer.json`", "save_pretrained"),
        (added("modeling_own.py", "print()"), "invalid_model", MODEL, "modeling_own.py", "delete"),
        (inside("model_name_or_path", "none"), "invalid_model", MODEL, "does not exist", "Check the path"),
        (spec(model_name_or_path="nobody/none"), "invalid_model", MODEL, "no model", "models pull nobody/none"),
        (spec(model_name_or_path="../allowed/model"), "invalid_model", MODEL, "no model", "absolute path"),
        (spec(model_name_or_path="x-Q4.gguf"), "invalid_model", MODEL, "GGUF", "safetensors"),
        (spec(model_name_or_path="/etc"), "path_not_allowed", MODEL, "outside", "--allow"),
        # --- the rows
        (inside("train_file", "none.jsonl"), "invalid_data", TRAIN, "does not exist", ""),
        (inside("eval_file", "none.jsonl"), "invalid_data", "spec.eval_file", "does not exist", ""),
        (rows(), "invalid_data", TRAIN, "empty", ""),
        (rows(TWO, b"\xff\xfe{}"), "invalid_data", f"{TRAIN}: train.jsonl:2", "not UTF-8", "iconv"),
        (rows(TWO, TWO, "{"), "invalid_data", f"{TRAIN}: train.jsonl:3", "Broken JSON", "JSON object"),
        (roles("user", "robot"), "invalid_data", f"{TRAIN}: train.jsonl:2", "robot", "assistant"),
        (roles("user", "user"), "invalid_data", f"{TRAIN}: train.jsonl:2", "assistant", ""),
        (spec(train_file="relative.jsonl"), "path_not_allowed", TRAIN, "no data set", "absolute path"),
        (by_link("train_file"), "path_not_allowed", TRAIN, "outside", "--allow"),
        (spec(max_length=8), "invalid_data", TRAIN, "`max_length` 8 cuts off", "at least"),
        # --- parameters against the model and the hardware
        (spec(target_modules=["q_porj"]), "invalid_input", "spec.target_modules", "q_porj", "`q_proj`"),
        (spec(max_length=8192), "invalid_input", "spec.max_length", "at most 4096", "4096 or less"),
        (lambda w: w.on(OLD_CPU, bf16=True), "invalid_input", "spec.bf16", "bf16", "precision=auto"),
        (lambda w: w.on(OLD_GPU, precision="bf16"), "invalid_input", "spec.precision", "bf16", "precision=auto"),
        (lambda w: w.on(OLD_CPU, precision="fp16"), "invalid_input", "spec.precision", "fp16", "precision=auto"),
        (lambda w: w.on(OLD_CPU, device="gpu"), "invalid_input", "spec.device", "no GPU", "device=auto"),
        # --- where results go
        (spec(output_dir="/etc/out"), "path_not_allowed", OUT, "outside", "--allow"),
        (inside("output_dir", "../out"), "path_not_allowed", OUT, "outside", "--allow"),
        (by_link("output_dir"), "path_not_allowed", OUT, "outside", "--allow"),
        (inside("output_dir", "a\x00b"), "invalid_input", OUT, "u0000", "Remove it"),
        (inside("output_dir", "model/config.json"), "invalid_input", OUT, "is a file", "Name a folder"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(
    world: World, spoil: Callable[[World], Spec], code: str, field: str, said: str, cure: str
) -> None:
    given = {"target_modules": ["all-linear"]} | spoil(world)
    error = refusal(world.submit(**given))
    assert error.code == code, error
    problem = error.problems[0]
    assert (problem.field or "").startswith(field), error
    assert said in problem.message
    assert problem.hint, "every problem names its cure"
    assert cure in problem.hint
    assert world.api.get("/v1/tasks").json()["data"] == [], "nothing was made"


def test_what_is_good_is_taken(world: World) -> None:
    reply = world.submit(target_modules=["q_proj"], output_dir=str(world.root / "allowed" / "out"))
    assert reply.status_code == 201, reply.text


def test_every_bad_row_is_named(world: World) -> None:
    world.data(TWO, "{", world.row("user"))
    error = refusal(world.submit(target_modules=["all-linear"]))
    assert [problem.field for problem in error.problems] == [
        f"{TRAIN}: train.jsonl:2",
        f"{TRAIN}: train.jsonl:3",
    ]
    assert error.details["bad_rows"] == 2
