"""Every command of the guide and of the README, in both languages, runs on the real platform as it is printed.

A reader's folder stands in for `~` and for where the commands are typed; `/data` lies in it. `TASK`, `OTHER` and
`PIPELINE` are tasks and a pipeline of the reader's. What a page cannot have run here says so in a comment of its own:
`<!-- guide: needs ... -->` before the block.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from guide_pages import ROOT, blocks
from live_platform import Platform
from short_tasks import write_dialogues
from waiting import wait_until

from tunesmith.cli import main
from tunesmith.client import Client
from tunesmith.errors import TunesmithError
from tunesmith.lifecycle import State
from tunesmith.model_folder import HUB_ID_FILE
from tunesmith.views import TaskView

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

MODEL = "SmolLM2-135M-Instruct"
CODES = {"estimate": (0, 1), "doctor": (0, 1), "status": (0, 1), "environment": (0, 1), "watch": (0, 3)}
CODES |= {"evaluate": (0, 1, 2)}
CODES |= {"projects create": (0, 1)}  # the page in the other language has made it
"""Exit codes that a command may have besides 0: what it says of this machine, or of the run, may be a no."""
PROMISED = {
    "up": r"/studio/",
    "tasks list": r"task-\w+",
    "tasks": r"task-\w+",
    "tasks metrics": r"loss|system/|measured|测量",
    "tasks checkpoints": r"300",
    "checkpoints list": r"300",
    "tasks rows": r"rows\.jsonl",
    "tasks autopsy": r"task-\w+",
    "models list": MODEL,
    "models show": "Llama|llama",
    "models pull": MODEL,
    "templates list": "SFT",
    "templates export": "learning_rate|parameters",
    "data list": "questions",
    "parameters": "learning_rate",
    "estimate": r"GiB|MiB",
    "quota show": r"50|100",
    "pipelines list": r"pipe-\w+",
    "data preview": "trained|训练",
    "compare": r"loss",
    "evaluate": r"composite|margin|0\.020|new tokens|生成词元",
    "evaluations list": r"task-\w+",
    "evaluations show": r"composite",
    "evaluations export": r"sample_id",
    "chats names": rf"{MODEL}(\t.*)?\n(.*\n)*.*:300",
    "chats list": r"ready|可用",
    "chats proof": r"`task-\w+:(\d+|final)`(.*\n)*(proof|证明) ",
    "chat": r"\S",
    "chats conversations": r"conversation-\w+",
    "chats show": r"1> What is the capital",
    "chats export": r'"messages": \[',
    "chats ratings": r"better|更好|corrected|已修正",
    "package": r"Q8_0",
    "packages show": r"Q8_0",
    "packages download": r"card\.md",
    "packages link": r"/v1/package-links/",
    "packages list": r"GB",
    "packages prune": r"MB",
    "admin backup": r"tunesmith-\d+T\d+Z\.tar",
    "admin gc": r"Nothing is left over|things|没有残留|项",
    "mlflow": r"http|MLFLOW_TRACKING_URI",
    "projects members": r"ann +member",
    "keys list": r"prometheus|ann",
    "audit": r"make_key",
}
"""What the output of a command holds."""


class Reader:
    """Somebody who types what the guide shows, in a folder of their own."""

    def __init__(self, platform: Platform) -> None:
        self.platform, self.client = platform, platform.client
        self.home = platform.folder / "reader"
        data = self.home / "data"
        data.mkdir(parents=True)
        for name in ("rows", "more", "train"):
            write_dialogues(data / f"{name}.jsonl", 100)
        for name in ("rows", "held-out"):
            write_dialogues(self.home / f"{name}.jsonl", 100)
        write_dialogues(data / "few.jsonl", 10)
        (data / "parts").mkdir()
        write_dialogues(data / "parts" / "a.jsonl", 20)
        shutil.copytree(platform.model, data / "my-model", symlinks=False)
        pulled = platform.home.models / MODEL
        shutil.copytree(platform.model, pulled, symlinks=False)
        (pulled / HUB_ID_FILE).write_text(f"HuggingFaceTB/{MODEL}")
        shutil.copytree(ROOT / "configs", self.home / "configs")
        shutil.copytree(ROOT / "infra" / "systemd", self.home / "infra" / "systemd")
        self.client.datasets.upload(self.home / "rows.jsonl", "alpaca")
        self.client.models.register(str(data / "my-model"), "my-model")
        self.done = self.trained()
        self.other = self.trained(file="few")
        # A completed task goes on once a language: it has more epochs then.
        self.spares = {"en": self.trained(file="few")}
        self.running: TaskView | None = None
        self.pipeline = ""

    def trained(self, file: str = "rows") -> TaskView:
        """A task of 300 steps, whose last checkpoint the guide pins."""
        return self.platform.client.create_task(
            {
                "spec": {
                    "model_name_or_path": str(self.platform.model),
                    "train_file": str(self.home / "data" / f"{file}.jsonl"),
                    "per_device_train_batch_size": 1,
                    "gradient_accumulation_steps": 1,
                    "gradient_checkpointing": False,
                    "num_train_epochs": 3,
                    "save_steps": 100,
                    "logging_steps": 1,
                    "max_length": 64,
                }
            }
        )

    def spare(self, language: str) -> TaskView:
        """The completed task that goes on in a language."""
        if language not in self.spares:
            self.idle()
            self.spares[language] = self.client.wait(self.trained(file="few").id, timeout=180)
        return self.spares[language]

    def start_page(self) -> None:
        """Take away what the same commands made before, in the other language."""
        for name in ("loss.csv", "log.txt", "my-samples.json"):
            (self.home / name).unlink(missing_ok=True)
        with contextlib.suppress(TunesmithError):
            self.client.templates.delete("my-sft")

    def live(self) -> TaskView:
        """A task that trains, for who asks it for a checkpoint or stops it."""
        if self.running is None or self.client.task(self.running.id).state.is_terminal:
            self.running = self.client.create_task(
                {
                    "spec": {
                        "model_name_or_path": str(self.platform.model),
                        "train_file": str(self.home / "data" / "rows.jsonl"),
                        "per_device_train_batch_size": 1,
                        "gradient_accumulation_steps": 1,
                        "max_steps": 100_000,
                        "save_steps": 10_000,
                        "max_length": 64,
                    }
                }
            )
        found = self.running
        wait_until(lambda: self.client.task(found.id).progress.step > 0, 90, "the first step")
        return found

    def words(self, line: str, language: str) -> list[str]:
        """A printed line as it is typed here."""
        words = shlex.split(line)[1:]
        command = " ".join(words[:2])
        needs_live = command.startswith("checkpoint TASK") or command.startswith("stop ")
        task = self.live().id if needs_live else self.done.id
        if command == "tasks continue":
            # What goes on is over by itself, or has been stopped.
            has_more = "--num-train-epochs" in words
            task = self.spare(language).id if has_more else (self.running or self.done).id
            self.client.wait(task, timeout=90)  # the line before may have asked for its stop
        names = {"TASK": task, "OTHER": self.other.id, "PIPELINE": self.pipeline}
        if "EVALUATION" in words:
            names["EVALUATION"] = self.client.evaluations()[0].task_id
        if "PACKAGE" in words:
            names["PACKAGE"] = next(one.id for one in self.client.tasks() if one.kind == "package")
        if words[0] in ("projects", "keys"):
            names["search"] = f"search-{language}"  # a project stays: the other language's page made one
        found = [names.get(word, word) for word in words]
        found = [word.replace("task_id=TASK", f"task_id={task}") for word in found]
        return [
            re.sub(r"(?<![\w:~])/data/", f"{self.home}/data/", word).replace("~/", f"{self.home}/")
            for word in found
        ]

    def type(self, line: str, language: str) -> tuple[int, str, str]:
        """Type a line.

        Returns:
            The exit code, what went to stdout and what was said beside it.
        """
        out, talk = io.StringIO(), io.StringIO()
        if "--measure" in line:
            self.idle()
        words = self.words(line, language)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(talk), environment(self, language):
            code = main.run(words)
        return code, out.getvalue(), talk.getvalue()

    def idle(self) -> None:
        """End everything: a measurement wants the machine for itself."""
        for task in self.client.tasks(state=["pending", "running"]):
            with contextlib.suppress(TunesmithError):
                self.client.stop_task(task.id)
            self.client.wait(task.id, timeout=90)

    def tidy(self) -> None:
        """End what goes on, so that the next command finds the platform idle."""
        for task in self.client.tasks(state=["pending", "running"]):
            if self.running is None or task.id != self.running.id:
                with contextlib.suppress(TunesmithError):
                    self.client.stop_task(task.id)


@contextlib.contextmanager
def environment(reader: Reader, language: str) -> Iterator[None]:
    before, folder = dict(os.environ), Path.cwd()
    os.environ |= {
        "HOME": str(reader.home),
        "TUNESMITH_HOME": str(reader.platform.home.root),
        "TUNESMITH_LANG": language,
        "BROWSER": "true",
        "COLUMNS": "100",
    }
    os.chdir(reader.home)
    try:
        yield
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module")
def reader(warm: Platform) -> Iterator[Reader]:
    found = Reader(warm)
    for task in (found.done, found.other, found.spares["en"]):
        assert warm.client.wait(task.id, timeout=180).state is State.COMPLETED
    yield found
    for hook in list(warm.client.webhooks.list()):
        warm.client.webhooks.remove(hook.id)
    warm.client.quota.change("default", enabled=False)
    for task in warm.client.tasks(state=["pending", "running"]):
        warm.client.stop_task(task.id)


GUIDE = (
    "overview",
    "prepare",
    "data",
    "train",
    "evaluate",
    "chat",
    "package",
    "monitor",
    "studio",
    "operate",
    "good-practice",
    "when-it-goes-wrong",
    "coming-from",
    "team",
    "install",
)
CHINESE = ("monitor", "when-it-goes-wrong")
"""Pages that `make test` types in Chinese too: what they call says most. The others are long: their commands are the
same (`test_both_languages_show_the_same_commands`) and run in English here."""
PAGES = [
    pytest.param(
        file,
        language,
        id=f"{language}-{file.stem}",
        marks=pytest.mark.long if language == "zh" and file.stem not in CHINESE else (),
    )
    for language in ("en", "zh")
    for file in (
        *([ROOT / "README.md"] if language == "en" else []),
        *(ROOT / "platform" / "guide" / language / f"{name}.md" for name in GUIDE),
    )
]


@pytest.mark.parametrize(("page", "language"), PAGES)
def test_the_guide_runs_as_it_is_printed(reader: Reader, page: Path, language: str) -> None:
    wrong = []
    ran = 0
    reader.start_page()
    for block in blocks(page):
        if block.needs:
            continue
        for line in block.commands:
            if line == "tunesmith down":
                continue  # the platform is shared: `test_down_ends_nothing_of_others` types it
            code, out, talk = reader.type(line, language)
            ran += 1
            said = f"{line}\n  exit code {code}\n{out[-1500:]}{talk[-1500:]}"
            command = re.sub(r" (TASK|PIPELINE|-|\$|[A-Z~/.]).*", "", line.removeprefix("tunesmith "))
            # `tasks` lists; `tasks diff` promises something else.
            short = command if command in ("tasks", "parameters", "estimate", "compare", "mlflow") else ""
            name = next((n for n in (command, " ".join(command.split()[:2]), short) if n in PROMISED), "")
            if code not in CODES.get(command, CODES.get(command.split()[0], (0,))):
                wrong.append(said)
            elif name and not re.search(PROMISED[name], out + talk):
                wrong.append(f"{said}\n  does not show {PROMISED[name]}")
            elif language == "zh" and talk.strip() and not re.search(r"[\u4e00-\u9fff]", talk):
                wrong.append(f"{said}\n  is not said in Chinese")
            reader.pipeline = pipeline_of(reader.client) or reader.pipeline
            if line.startswith(("tunesmith train", "tunesmith tasks", "tunesmith run", "tunesmith data run")):
                reader.tidy()
    reader.client.quota.change("default", enabled=False)
    assert not wrong, "\n\n".join(wrong)
    assert ran


def pipeline_of(client: Client) -> str:
    """A pipeline that was stopped or failed, so that it can go on."""
    for found in client.pipelines.list():
        if not found.state.is_terminal:
            client.pipelines.stop(found.id)
            wait_until(lambda one=found: client.pipelines.get(one.id).state.is_terminal, 60, "the pipeline")
        if client.pipelines.get(found.id).state is not State.COMPLETED:
            return found.id
    return ""


def typed(line: str, home: Path, language: str, **more: str) -> subprocess.CompletedProcess[str]:
    given = (
        os.environ | {"TUNESMITH_HOME": str(home), "TUNESMITH_LANG": language, "PYTHONUNBUFFERED": "1"} | more
    )
    program = str(Path(sys.executable).parent / "tunesmith")
    return subprocess.run(
        [program, *shlex.split(line)[1:]], env=given, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_down_ends_nothing_of_others(tmp_path: Path, language: str) -> None:
    said = typed("tunesmith down", tmp_path / "nobody", language)
    assert said.returncode == 0, said
    assert str(tmp_path / "nobody") in said.stderr


@pytest.mark.parametrize("language", ["en", pytest.param("zh", marks=pytest.mark.long)])
def test_the_page_on_servers_runs(tmp_path: Path, language: str) -> None:
    """Migrate, then the background loops beside it, over a database of their own."""
    page = ROOT / "platform" / "guide" / language / "servers.md"
    lines = [line for block in blocks(page) for line in block.commands]
    assert lines == ["tunesmith migrate", "tunesmith controller"]
    home = tmp_path / "home"
    early = typed("tunesmith controller", home, language)
    assert early.returncode == 3
    assert "tunesmith migrate" in early.stderr
    migrated = typed("tunesmith migrate", home, language)
    assert migrated.returncode == 0, migrated
    given = os.environ | {"TUNESMITH_HOME": str(home), "TUNESMITH_LANG": language}
    program = str(Path(sys.executable).parent / "tunesmith")
    with subprocess.Popen(
        [program, "controller"], env=given, stderr=subprocess.PIPE, text=True
    ) as controller:
        assert controller.stderr is not None
        for line in controller.stderr:
            if "the background loops run" in line:
                break
        controller.send_signal(signal.SIGTERM)
        controller.stderr.read()
    assert controller.returncode == 0
