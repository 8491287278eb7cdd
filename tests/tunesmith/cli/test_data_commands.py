"""`tunesmith data ...`: reports and previews of local files without a server, and the registry against the real one."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from model_files import make_model_folder
from served import served

from tunesmith.client import Client, datasets
from tunesmith.errors import InvalidData, InvalidInput
from tunesmith.home import Home
from tunesmith.job import read_secret
from tunesmith_platform.app import create_app
from tunesmith_platform.settings import Settings
from tunesmith_platform.testing.fakes import FakeJobs

Cli = Callable[..., Any]
ROW = {"messages": [{"role": "user", "content": "ask"}, {"role": "assistant", "content": "Tell."}]}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A served control plane that the command line finds, over an allowed folder `mine`."""
    home = Home(tmp_path / "home")
    home.create()
    settings = Settings(home=home.root, run_loops=False, allowed_roots=[tmp_path / "mine"])
    with served(create_app(settings, FakeJobs()), read_secret(home.api_key_file), monkeypatch):
        yield home


def write(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_a_local_file_is_read_without_a_server(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_URL", "http://127.0.0.1:1")
    model = make_model_folder(tmp_path / "model")
    file = write(tmp_path / "rows.jsonl", ROW, "broken", ROW)
    said = cli("data", "validate", str(file))
    assert said.code == 1
    assert "rows.jsonl:2: Broken JSON" in said.err
    allowed = cli("data", "validate", str(file), "--allow-bad", "50", "--model", str(model), "--json")
    report = json.loads(allowed.out)
    assert (allowed.code, report["verdict"], report["tokens"]["rows"]) == (0, "skips", 2)
    shown = cli("data", "preview", str(file), "--model", str(model), "--row", "3", "--max-length", "20")
    assert shown.code == 0, shown.err
    assert "⟦Tell.<|im_end|>⟧" in shown.out
    assert "tokens are trained" in shown.err
    column = cli("data", "validate", str(file), "--set", "text_column=nothing")
    assert (column.code, "no column `nothing`" in column.err) == (1, True)
    assert cli("data", "validate", str(file), "--set", "nonsense").code == 2


def test_from_adding_to_removing(cli: Cli, home: Home, tmp_path: Path) -> None:
    assert "No data sets yet" in cli("data", "list").err
    file = write(tmp_path / "away" / "support.jsonl", ROW)
    added = cli("data", "add", str(file))
    assert added.code == 0, added.err
    assert "--train-file support" in added.err
    write(file, ROW, ROW)
    assert json.loads(cli("data", "add", str(file), "--json").out)["latest"] == 2
    assert "conversation" in cli("data", "list").out
    assert "upload" in cli("data", "show", "support").out
    refused = cli("data", "add", str(file), "--in-place")
    assert (refused.code, "--allow" in refused.err) == (1, True)
    own = write(tmp_path / "mine" / "own.jsonl", ROW)
    assert cli("data", "add", str(own), "--in-place", "--name", "own").code == 0
    assert cli("data", "remove", "support").code == 2, "nobody is there to be asked"
    assert "support@1" in cli("data", "remove", "support@1", "--yes").err
    assert cli("data", "remove", "own", "--yes").code == 0
    assert own.is_file()
    assert [view["name"] for view in json.loads(cli("data", "list", "--json").out)] == ["support"]
    make_model_folder(home.models / "m")
    served = cli("data", "preview", "support", "--model", "m")
    assert "Tell." in served.out, served.err
    assert cli("data", "validate", "support", "--model", "m").code == 0
    assert "no data set `gone`" in cli("data", "validate", "gone").err


def test_an_upload_survives_a_line_that_breaks(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "PIECE_BYTES", 64)
    file = write(tmp_path / "rows.jsonl", *[ROW] * 5)
    send = httpx.Client.request
    calls = {"PUT": 0}

    def breaks(self: httpx.Client, method: str, *args: Any, **given: Any) -> httpx.Response:
        if method == "PUT":
            calls["PUT"] += 1
            if calls["PUT"] % 2:
                if calls["PUT"] % 4 == 1:
                    send(self, method, *args, **given)  # it arrives; only its answer is lost
                raise httpx.ReadError("broken")
        return send(self, method, *args, **given)

    monkeypatch.setattr(httpx.Client, "request", breaks)
    with Client() as client:
        view = client.datasets.upload(file, "rows")
        assert view.versions[0].bytes == file.stat().st_size
        with pytest.raises(InvalidInput, match="cannot be read"):
            client.datasets.upload(tmp_path / "none.jsonl")
        with pytest.raises(InvalidData):
            client.datasets.upload(write(tmp_path / "bad.jsonl", "no rows"))


def test_an_operation_on_data_is_a_task(cli: Cli, home: Home, tmp_path: Path) -> None:
    file = write(tmp_path / "mine" / "rows.jsonl", ROW)
    said = cli("data", "run", "dedup", str(file), "--set", "near=true", "--into", "once", "--detach")
    assert (said.code, "It makes `once`." in said.err) == (0, True), said.err
    task = Client().task(said.out.strip())
    assert (task.kind, task.spec["near"], task.spec["into"]) == ("dataset", True, "once")
    for words, wanted in (
        (("fliter", str(file)), "Did you mean `filter`?"),
        (("dedup", str(file), "--set", "naer=true"), "Did you mean `near`?"),
        (("dedup", str(file), str(file)), "`concat` puts several together"),
        (("load", "owner/closed", "--set", "token=hf_secret"), "never written out"),
        (("load", "s3://elsewhere/x.jsonl"), "does not lie where"),
    ):
        refused = cli("data", "run", *words, "--detach")
        assert refused.code != 0
        assert wanted in refused.err, refused.err
        assert "hf_secret" not in refused.err
    folder = cli("data", "add", str(file.parent))
    assert f"tunesmith data run load {file.parent}" in folder.err.replace("\n", " ")
