"""What of the platform lives in one process's memory, and why that may be: decision 0033.

A lock, a retry time or a failure count in memory is forgotten by a kill and unknown to the process beside. What is new
here does not pass before somebody has said which of the reasons it has, or put it into the database.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "platform" / "tunesmith_platform"
ELSEWHERE = ("db/migrations", "db/tables", "embedded", "examples", "testing")
"""Tables and words; `tunesmith up`, of which a machine has one; fakes."""

ANSWER = "lives as long as an answer; what it was about is cut off with its server, and is asked again"
CACHE = "a copy of what is read again when it changes, or after seconds"
BOUND = "what this server lets run; the others are told, and a restart begins anew"
COUNTED = "counters of one server, which begin anew with it, as Prometheus expects"
DECLARED = "made at the start, and the same in every process"
HINT = "wakes whoever waits a moment earlier; who waits looks into the database by itself"
LEASED = "whoever has the lease; the next one begins anew from the database, and at worst tries earlier or waits longer"
LOGGED = "tells how often something was logged"
MLFLOW = "of the one process before MLflow, which serves no API"
OWN = "threads, processes and locks of one process, around memory of its own"
PACE = "when to look or end what is left next; another process waits its few seconds anew"
REQUEST = "lives as long as a call; its caller calls again"
RESUMED = "files to read; under a lease each, and a server that starts takes up what is unread"
STREAM = "a live stream's place and copies of the log; its reader connects again and goes on where it was"

MEMORY = {
    "access.open_answers.OpenAnswers": (STREAM, "_open _timer"),
    "access.provider.Provider": (CACHE, "_keys _known"),
    "admin.archive.Writing": (REQUEST, "_names"),
    "admin.garbage.Collector": (REQUEST, "_folders"),
    "auth.Keys": (CACHE, "_known _sessions"),
    "backends.clearing.ClearedJobs": (PACE, "_over_since"),
    "backends.compute.ComputeService": (CACHE, "_answered _asked_at _is_asking _lock _seen"),
    "backends.ray_jobs.RayJobs": (PACE, "_ended_at"),
    "caller.RequestCaller": (REQUEST, "_left _task has_left"),
    "chats.counts.Counts": (COUNTED, "_first answered completion_tokens prompt_tokens seconds"),
    "chats.names.Names": (CACHE, "_finals _known _lock"),
    "chats.replica.Replica": (OWN, "_client _loop"),
    "bounds.sharing.Sharing": (
        CACHE,
        "_beat _is_apart _looked_at _looking _moved _others _said _said_at _task",
    ),
    "chats.spending.Spending": (BOUND, "_spent"),
    "chats.turns.Turns": (ANSWER, "_lines"),
    "chats.turns._Line": (ANSWER, "waiting"),
    "conversations.answers.KeptAnswer": (ANSWER, "_heads"),
    "conversations.talking.Talking": (ANSWER, "_ending"),
    "conversations.talking._Recording": (ANSWER, "_numbers _state _texts _thoughts _why"),
    "controller.Listeners": (PACE, "_answered_at"),
    "db.engine._Turn": (OWN, "_begins_at _lock _locked_at"),
    "db.schema": (DECLARED, "_revisions()"),
    "estimates.counter.Counter": (CACHE, "_busy _failed _known _lock _samples"),
    "estimates.service.EstimateService": (OWN, "_counter _lock"),
    "estimates.speed": (OWN, "_lock"),
    "events.batching.ReportBatcher": (REQUEST, "_at_work _loop _threads _waiting"),
    "events.endpoints._ReportRequest": (REQUEST, "_body"),
    "events.feeds.Feed": (STREAM, "_bytes first is_gone is_over last"),
    "events.feeds.Feeds": (STREAM, "_feeds _historians _looker _looking _loop _noticed _stale"),
    "events.feeds.Reader": (STREAM, "_feed _is_ended _n wake"),
    "events.service.EventService": (CACHE, "_known_attempts _known_secret lag_seconds"),
    "hardware": (CACHE, "hardware()"),
    "hub.Hub": (HINT, "_listeners _lock _told _waiting"),
    "leases.Lease": (LEASED, "_taken_at"),
    "leases": (DECLARED, "_here()"),
    "loops.Loop": (OWN, "_stop last_seconds moved_at rounds"),
    "loops.Loops": (OWN, "_kept _stop _suspects _watch"),
    "loops.Troubles": (LOGGED, "_lock _times"),
    "loops._Kept": (OWN, "loop thread"),
    "mirror.service.Mirror": (LEASED, "_checked_at _doubted _failures"),
    "mlflow_link.Admissions": (MLFLOW, "_used"),
    "models.fingerprints.Fingerprints": (RESUMED, "_is_closed _lock _queue _reader _results _waiting"),
    "models.service.ModelService": (CACHE, "_answered"),
    "monitoring.detectors.Overfitting": (LEASED, "is_warned since"),
    "monitoring.detectors.Spikes": (LEASED, "quiet"),
    "monitoring.detectors.Stalls": (LEASED, "heard_at longest step"),
    "monitoring.detectors.Watch": (LEASED, "newest_step"),
    "monitoring.following.WorkspaceFeed": (
        STREAM,
        "_chunks _first _held _looking _loop _noticed _pool _position _readers",
    ),
    "monitoring.following.WorkspaceFeeds": (STREAM, "_feeds _lock"),
    "monitoring.following.WorkspaceReader": (STREAM, "_number _position wake"),
    "monitoring.loop.Monitor": (LEASED, "_swept_at _tasks"),
    "monitoring.workspace.Workspace": (STREAM, "_changes _lines _lock _number _read_at"),
    "notifications.pinned._Bounded": (REQUEST, "_left"),
    "notifications.pinned._Pinned": (REQUEST, "reached"),
    "openai.answers.Answer": (ANSWER, "_ends _head"),
    "openai.answers.ChatAnswer": (ANSWER, "_turns"),
    "openai.answers.Turn": (ANSWER, "_thinking"),
    "openai.errors._Answering": (ANSWER, "_body _start is_begun"),
    "openai.sending._Source": (ANSWER, "_begun _error _first _ready _room _task _wake is_over"),
    "openai.thinking.Thinking": (ANSWER, "_held _is_blank _is_open _is_over"),
    "rates.Rate": (BOUND, "_left"),
    "reconciler.last_heard.Listening": (LEASED, "_ears"),
    "reconciler.loop.Reconciler": (LEASED, "_leave_stop_at _listening_since _submit_after"),
    "routing.ApiRoute": (DECLARED, "_is_begun methods"),
    "routing": (DECLARED, "_ADMISSIONS _LARGE _WORDED _building"),
    "packaging.loop.PackageRetention": (LEASED, "_next"),
    "runners.pool.RunnerPool": (LEASED, "_crowd _falls _start_after _sweep_after"),
    "sandbox.awaiting.Awaited": (REQUEST, "_known _lock"),
    "sandbox.awaiting._Work": (REQUEST, "_ticket has_left"),
    "sandbox.checks": (
        CACHE,
        "_check_tokenizer() _gguf_sizes() _model_facts() _model_numbers() findings() rows()",
    ),
    "sandbox.count_tokens": (CACHE, "_ENCODERS _ENCODERS_LOCK"),
    "sandbox.pool.Sandbox": (OWN, "_is_closed _lock _numbers _served _slots _starter _waiting"),
    "sandbox.pool._Ticket": (REQUEST, "called has_left"),
    "sandbox.process.WorkerProcess": (OWN, "_buffer"),
    "sandbox.results.Results": (CACHE, "_kept _lock"),
    "sandbox.sample_checks": (CACHE, "_counted_samples() _unknown_benchmarks()"),
    "sandbox.shared_workers._Shared": (OWN, "_lock _options _sandbox"),
    "sandbox.work": (CACHE, "_encoder() _facts() _known_benchmarks() _shape()"),
    "sandbox.library": (OWN, "_one_at_a_time"),
    "series.reading.Tokens": (REQUEST, "_curves"),
    "settings.Settings": (
        DECLARED,
        "_resolved api_url database_url migrate_at_start mlflow_public_url public_url serve_bind storage_uri",
    ),
    "sse.Chunk": (STREAM, "_packed"),
    "sse.EventStream": (STREAM, "_abort _clock _is_over _is_ping_due _size _sum _task _woken sending_since"),
    "sse.Streams": (STREAM, "_count _timer _turns"),
    "system.database_look.DatabaseLook": (PACE, "_under_way"),
    "system.service.SystemService": (CACHE, "schema_notice"),
    "system.environment.EnvironmentService": (OWN, "_hanging _lock"),
    "tasks.inputs": (DECLARED, "_swept()"),
    "tasks.kinds.base.KindBehaviour": (DECLARED, "paths"),
    "tasks.kinds.dataset.DataWork": (DECLARED, "paths"),
    "tasks.kinds.model_use.ModelUse": (DECLARED, "_finder"),
    "tasks.kinds.registry.Kinds": (DECLARED, "_made"),
    "templates.builtin": (DECLARED, "builtins()"),
}
"""By class (or module): why, and what changes or holds something while it lives."""

_HOLDERS = frozenset(
    {
        "Barrier", "Condition", "Event", "Lock", "OrderedDict", "Queue", "RLock", "Semaphore", "SimpleQueue",
        "ThreadPoolExecutor", "count", "defaultdict", "deque", "dict", "list", "local", "set",
    }
)  # fmt: skip


def test_what_lives_in_memory_has_its_reason() -> None:
    found: dict[str, set[str]] = {}
    for file in sorted(SOURCE.rglob("*.py")):
        path = file.relative_to(SOURCE)
        if not path.as_posix().startswith(ELSEWHERE):
            for owner, name in _memory(
                ".".join(path.with_suffix("").parts), file.read_text(encoding="utf-8")
            ):
                found.setdefault(owner, set()).add(name)
    known = {owner: set(names.split()) for owner, (_, names) in MEMORY.items()}
    new = {f"{owner}.{name}" for owner, names in found.items() for name in names - known.get(owner, set())}
    gone = {f"{owner}.{name}" for owner, names in known.items() for name in names - found.get(owner, set())}
    assert new == set(), (
        "say why it may be forgotten, and unknown to other processes, or put it into the database"
    )
    assert gone == set()


def test_the_search_finds_what_it_looks_for() -> None:
    source = """
_seen = set()
NAMES = {"a": 1}
@functools.lru_cache(maxsize=1)
def read(): ...
class Loop:
    def __init__(self):
        self._lock, self._given = threading.Lock(), 1
        self._times: dict[str, int] = {}
    def tick(self):
        self._falls += 1
        self._until, other = 2, 3
"""
    owned = {f"{owner}.{name}" for owner, name in _memory("m", source)}
    assert owned == {"m._seen", "m.read()"} | {
        f"m.Loop.{name}" for name in ("_lock", "_times", "_falls", "_until")
    }


def _memory(module: str, source: str) -> Iterator[tuple[str, str]]:
    """What a module's source keeps: owner and name."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            for target, value in _assigned(node):
                name = _name(target)
                is_constant = name.lstrip("_").isupper() and not _is_empty(value)
                if name and _holds(value) and not is_constant:
                    yield module, name
        elif isinstance(node, ast.FunctionDef):
            decorators = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
            if {"cache", "lru_cache"} & set(map(_name, decorators)):
                yield module, f"{node.name}()"
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                    for name in _changed(method):
                        yield f"{module}.{node.name}", name


def _changed(method: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """What of its object a method changes; of one that makes it, what can change by itself."""
    for node in ast.walk(method):
        for target, value in _assigned(node):
            is_own = isinstance(target, ast.Attribute) and _name(target.value) == "self"
            if is_own and (method.name != "__init__" or _holds(value)):
                yield _name(target)


def _assigned(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Tuple):
                values = (
                    node.value.elts if isinstance(node.value, ast.Tuple) else [node.value] * len(target.elts)
                )
                yield from zip(target.elts, values, strict=False)
            else:
                yield target, node.value
    elif isinstance(node, ast.AnnAssign | ast.AugAssign) and node.value is not None:
        yield node.target, node.value


def _holds(value: ast.expr) -> bool:
    displays = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
    return isinstance(value, displays) or (isinstance(value, ast.Call) and _name(value.func) in _HOLDERS)


def _is_empty(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) or not list(ast.iter_child_nodes(value))


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
