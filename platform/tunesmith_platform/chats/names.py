"""What a model is called in chats, and which weights a name stands for.

`NAME` is a base model's, by its name or its hub id. `TASK` is a training's model: its recommended checkpoint, else its
best one, else its final model, else its newest checkpoint. `TASK:40`, `TASK:final`, `TASK:latest`, `TASK:best` and
`TASK:recommended` say which; `latest` follows a training that goes on. `NAME:Q4_K_M` and `TASK:40:Q4_K_M` are the GGUF
files that were packaged of the same weights. A task is called by its name where no other task
has it, and by its id. Knows rows; asks the finder where a model lies.
"""

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tunesmith.artifacts import MANIFEST, Manifest
from tunesmith.chat.wire import PackagedGguf, ServedModel
from tunesmith.errors import InvalidInput, NotFound, TunesmithError
from tunesmith.gguf.types import FileType
from tunesmith.lifecycle import State
from tunesmith.model_folder.identity import folder_print, manifest_print
from tunesmith.spec.chat import ChatSpec
from tunesmith.spec.kinds import Feature, kind_of
from tunesmith.spec.problems import did_you_mean
from tunesmith.storage import open_storage
from tunesmith_platform.chats import repository
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import ChatFileRow, CheckpointRow, TaskRow
from tunesmith_platform.models.service import ModelService
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks import repository as tasks
from tunesmith_platform.tasks.kinds.model_use import ModelInputs
from tunesmith_platform.tasks.kinds.resolve_model import Finder
from tunesmith_platform.tasks.kinds.served import served

FINAL, LATEST, BEST, RECOMMENDED = "final", "latest", "best", "recommended"
_WORDS = (FINAL, LATEST, BEST, RECOMMENDED)
_FILE_TYPES = frozenset(FileType)
_LISTED_TASKS = 200
_LISTED = 2000
"""Names that a list holds at most."""
_KNOWN = 256
_WEIGHTS = re.compile(r"(adapter_)?model[\w-]*\.safetensors")
"""Files of weights; a checkpoint has its optimizer's and its generators' state beside them."""
MAX_NAME = 300


class Weights(NamedTuple):
    """What a name stands for now.

    Attributes:
        name: Its whole name, as `sft:40`; what was asked for may have left out which checkpoint.
        uri: Where the weights lie.
        weights: What tells them from all others.
        task_id: The training that made them; None for a base model.
        step: Of the checkpoint; None for a final model and for a base model.
        why: In a word, why it is this one: `recommended`, `best`, `final`, `latest`; empty where it was named.
    """

    name: str
    uri: str
    weights: str
    task_id: str | None = None
    step: int | None = None
    why: str = ""
    file: PackagedGguf | None = None
    """A packaged file of them, which `weights` tells then."""
    package_id: str | None = None
    """The task that made it."""


class Named(NamedTuple):
    """A name that can be asked: for lists."""

    name: str
    created: int
    owner: str
    task_id: str | None = None
    step: int | None = None
    weights: str = ""
    """What tells it from all others, where that is known without looking."""


class Names:
    """Looks names up.

    Args:
        database: Where tasks and checkpoints are.
        settings: Which folders may be used.
        models: The registry of base models.
    """

    def __init__(self, database: Database, settings: Settings, models: ModelService) -> None:
        self._database = database
        self._models = models
        self._finder = Finder(database, settings, models)
        self._known: OrderedDict[tuple[Scope, str, str], ServedModel] = OrderedDict()
        self._finals: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, scope: Scope, name: str) -> tuple[Weights, ServedModel]:
        """The weights that a name stands for now, and what a question says of them. No transaction is open.

        Raises:
            NotFound: Nothing is called so.
            InvalidInput: It stands for several things, or what it stands for cannot answer.
        """
        found = self.look_up(scope, name)
        key = (scope, found.uri, found.weights)
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
        if known is None:
            known = self._describe(scope, found)
            with self._lock:
                self._known[key] = known
                while len(self._known) > _KNOWN:
                    self._known.popitem(last=False)
        return found, known.model_copy(update={"name": found.name})

    def look_up(self, scope: Scope, name: str) -> Weights:
        """The weights that a name stands for now.

        Raises:
            NotFound: Nothing is called so, or it has saved nothing yet.
            InvalidInput: It stands for several things.
        """
        if not name or len(name) > MAX_NAME or "\x00" in name:
            raise _unknown(name[:80], [])
        folder = self._models.find(scope, name)
        task, which = self._task(scope, name), None
        if folder is None and task is None and (found := self._packaged(scope, name)) is not None:
            return found
        if task is None and ":" in name:
            head, _, tail = name.rpartition(":")
            if tail in _WORDS or (tail.isascii() and tail.isdigit() and len(tail) < 18):
                task, which = self._task(scope, head), tail
        if folder is not None and task is not None:
            raise InvalidInput(
                f"`{name}` is a base model's name and a task's.",
                hint=f"Name the task by its id: `{task.id}`.",
                field="model",
            )
        if folder is not None:
            return Weights(name, str(folder), folder_print(folder))
        if task is None:
            raise _unknown(name, [one.name for one in self.list(scope)])
        return self._of_task(scope, task, name, which)

    def list(self, scope: Scope) -> list[Named]:
        """Every name that can be asked, base models first, then trainings, newest first, each with its checkpoints.

        Behind each come the packaged files of its weights.
        """
        files: dict[str, list[ChatFileRow]] = {}
        with self._database.read() as session:
            for file in repository.files(session, scope):
                files.setdefault(file.source.rstrip("/"), []).append(file)
        found: list[Named] = []
        for model in self._models.page(scope).data:
            if model.facts is not None:
                one = Named(model.name, int(model.created_at.timestamp()), "tunesmith")
                found += [one, *_files_of(files, one, model.path)]
        with self._database.read() as session:
            rows = repository.tasks_with_models(session, scope, _LISTED_TASKS)
            saved = repository.checkpoints_of(session, scope, [row.id for row in rows])
            names = [row.name for row in rows]
            for row in rows:
                is_alone = (
                    names.count(row.name) == 1
                    and len(repository.tasks_named(session, scope, row.name, 2)) == 1
                )
                name = row.name if is_alone else row.id
                made = int(row.created_at.timestamp())
                found.append(Named(name, made, row.owner, row.id))
                if row.state == State.COMPLETED and row.model_uri:
                    final = Named(f"{name}:{FINAL}", made, row.owner, row.id)
                    found += [final, *_files_of(files, final, row.model_uri)]
                for saving in saved:
                    if saving.task_id == row.id:
                        own = Named(
                            f"{name}:{saving.step}",
                            int(saving.created_at.timestamp()),
                            row.owner,
                            row.id,
                            saving.step,
                            saving.manifest_sha256,
                        )
                        found += [own, *_files_of(files, own, saving.uri)]
        return found[:_LISTED]

    def content(self, found: Weights) -> str:
        """What tells what weights hold: a final model and the checkpoint of its last step have one."""
        is_saved = found.task_id is not None and found.file is None
        read = open_storage(found.uri).read(MANIFEST) if is_saved else None
        manifest = Manifest.decode(read) if read is not None else None
        files = manifest.files if manifest is not None else []
        held = sorted((file.path, file.sha256) for file in files if _WEIGHTS.fullmatch(file.path))
        return hashlib.sha256(repr(held).encode()).hexdigest() if held else found.weights

    # --- looking

    def _task(self, scope: Scope, name: str) -> TaskRow | None:
        """The training that is called so; None where none is.

        Raises:
            InvalidInput: Several are.
        """
        with self._database.read() as session:
            by_id = tasks.known(session, scope, name) if len(name) <= 40 else None
            if by_id is not None and Feature.CHECKPOINTS in kind_of(by_id.kind).supports:
                return by_id
            named = repository.tasks_named(session, scope, name, 3)
        if len(named) > 1:
            ids = ", ".join(f"`{row.id}`" for row in named)
            raise InvalidInput(
                f"Several tasks are named `{name}`.",
                hint=f"Use an id; the newest first: {ids}.",
                field="model",
            )
        return named[0] if named else None

    def _packaged(self, scope: Scope, name: str) -> Weights | None:
        """The packaged file that is called so: `NAME:Q4_K_M`, of what `NAME` stands for; None where none is.

        Raises:
            NotFound: There is none of this type.
            InvalidInput: What stands before the type means several things.
        """
        head, _, file_type = name.rpartition(":")
        if not head or file_type not in _FILE_TYPES:
            return None
        whole = self.look_up(scope, head)
        with self._database.read() as session:
            rows = repository.files(session, scope, whole.weights)
        row = next((row for row in rows if row.file_type == file_type), None)
        if row is None:
            there = ", ".join(f"`{whole.name}:{row.file_type}`" for row in rows)
            raise NotFound(
                f"`{whole.name}` was not packaged as `{file_type}`.",
                hint=f"There are {there}."
                if there
                else f"Package it: `tunesmith package {whole.task_id or head}`.",
                field="model",
            )
        return whole._replace(
            name=f"{whole.name}:{file_type}",
            uri=row.uri,
            weights=row.sha256,
            file=tasks.file_of(row),
            package_id=row.package_id,
        )

    def _of_task(self, scope: Scope, task: TaskRow, name: str, which: str | None) -> Weights:
        with self._database.read() as session:
            saved = {row.step: row for row in repository.checkpoints_of(session, scope, [task.id])}
        head = name if which is None else name.rpartition(":")[0]
        has_final = bool(task.state == State.COMPLETED and task.model_uri)
        marked = {
            RECOMMENDED: next((row for row in saved.values() if row.is_recommended), None),
            BEST: next((row for row in saved.values() if row.is_best), None),
            LATEST: saved[max(saved)] if saved else None,
        }
        words = [which] if which is not None else [RECOMMENDED, BEST, FINAL, LATEST]
        for word in words:
            why = word if word in _WORDS else ""
            if word == FINAL and has_final:
                return self._final(task, head, why)
            row = saved.get(int(word)) if word.isdigit() else marked.get(word)
            if row is not None:
                return _checkpoint(row, head, why)
        if which == LATEST and has_final:  # it has removed its checkpoints
            return self._final(task, head, FINAL)
        listed = ", ".join(f"`{head}:{step}`" for step in sorted(saved)[-10:])
        raise NotFound(
            f"Task `{task.name}` has no {'model' if which is None else f'`{which}`'} yet."
            if which is None or not which.isdigit()
            else f"Task `{task.name}` has no checkpoint of step {which}.",
            hint=f"There are {listed}." if listed else "Wait until it has saved one.",
            field="model",
        )

    def _final(self, task: TaskRow, head: str, why: str) -> Weights:
        """A final model, told by its manifest, which is read once."""
        uri = str(task.model_uri)
        key = (uri, str(task.ended_at))
        with self._lock:
            told = self._finals.get(key)
        if told is None:
            manifest = open_storage(uri).read(MANIFEST)
            if manifest is None:
                raise NotFound(
                    f"The final model of task `{task.name}` is gone.",
                    hint="Name one of its checkpoints.",
                    field="model",
                )
            told = manifest_print(manifest)
            with self._lock:
                self._finals[key] = told
                while len(self._finals) > _KNOWN:
                    self._finals.popitem(last=False)
        return Weights(f"{head}:{FINAL}", uri, told, task.id, None, why)

    def _describe_file(self, scope: Scope, found: Weights, file: PackagedGguf) -> ServedModel:
        """What a question says of a packaged file: read as the package's model was, computed from the file."""
        with self._database.read() as session:
            task = tasks.require(session, scope, str(found.package_id))
        inputs = ModelInputs.model_validate(task.inputs)
        return ServedModel(
            name=found.name,
            weights=file.sha256,
            model_uri=file.uri,
            base_path=file.uri,
            is_adapter=False,
            training=inputs.training,
            encoder_path=inputs.encoder_path,
            tokenizer_path=inputs.tokenizer_path,
            file=file,
        )

    def _describe(self, scope: Scope, found: Weights) -> ServedModel:
        """What a question says of weights.

        Raises:
            InvalidInput: They lie where they may not be read, are gone, or cannot answer.
        """
        try:
            if found.file is not None:
                return self._describe_file(scope, found, found.file)
            if found.step is not None:
                spec = ChatSpec(task_id=found.task_id, checkpoint=found.step)
            else:
                spec = ChatSpec(model_name_or_path=found.uri)
            return served(self._finder.find(scope, spec), found.weights, found.name)
        except InvalidInput as error:
            raise type(error)(error.message, hint=error.hint, field="model") from error


def _files_of(files: Mapping[str, Sequence[ChatFileRow]], one: Named, place: str) -> list[Named]:
    """The names of the packaged files of some weights, by where these lie."""
    return [
        one._replace(
            name=f"{one.name}:{row.file_type}", created=int(row.created_at.timestamp()), weights=row.sha256
        )
        for row in files.get(place.rstrip("/"), ())
    ]


def _checkpoint(row: CheckpointRow, head: str, why: str) -> Weights:
    return Weights(f"{head}:{row.step}", row.uri, row.manifest_sha256, row.task_id, row.step, why)


def base_key(base: str) -> str:
    """What a base model's row is told by: its place, whatever it is called."""
    return hashlib.sha256(base.encode()).hexdigest()


def short_name(base: str) -> str:
    """What a base model is called in a task's name and in messages."""
    return Path(base.rstrip("/")).name or base


def _unknown(name: str, names: list[str]) -> TunesmithError:
    meant = did_you_mean(name, names)
    hint = f"Did you mean `{meant}`?" if meant else "`GET /openai/v1/models` lists them."
    return NotFound(f"There is no model `{name}` to talk to.", hint=hint, field="model")
