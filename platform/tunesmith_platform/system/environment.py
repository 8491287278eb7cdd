"""The check before a start: Ray, packages, GPU, storage, MLflow, disk, memory, the database.

All parts are looked at at once, each in a thread of its own and with a limit of time, so that a dead one hangs
nobody. Knows parts and cures; knows no task.
"""

import queue
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import psutil

from tunesmith.availability import NO_GPU, NO_GPU_CURE_ZH, OPTIONAL, is_installed
from tunesmith.environment import CheckStatus, Environment, EnvironmentCheck, Words
from tunesmith.errors import TunesmithError
from tunesmith.removal import remove_names
from tunesmith.secret_values import words_without_secrets
from tunesmith.storage import local_path, open_storage
from tunesmith_platform.backends.compute import ComputeService
from tunesmith_platform.backends.protocols import Jobs, Tracking
from tunesmith_platform.db.engine import Database
from tunesmith_platform.hardware import hardware
from tunesmith_platform.packages import Verdict, packages, version
from tunesmith_platform.paths import existing
from tunesmith_platform.settings import Settings

LIMIT_SECONDS = 4.0
_MOST_HANGING = 4
"""How many threads may hang on one part; then it is not asked again until one comes back."""
_GB = 2**30
_LITTLE_DISK = 2 * _GB
_LITTLE_MEMORY = 3 * _GB
_SHOWN_PACKAGES = ("ray", "torch", "transformers", "peft", "mlflow")

OK, WARNING, FAILED = CheckStatus.OK, CheckStatus.WARNING, CheckStatus.FAILED
LABELS = {
    "ray": Words(en="Ray", zh="Ray 集群"),
    "packages": Words(en="Packages", zh="依赖包"),
    "optional": Words(en="Optional packages", zh="可选依赖包"),
    "gpu": Words(en="GPU", zh="GPU"),
    "storage": Words(en="Storage", zh="存储"),
    "mlflow": Words(en="MLflow", zh="MLflow"),
    "disk": Words(en="Disk", zh="磁盘空间"),
    "memory": Words(en="Memory", zh="内存"),
    "database": Words(en="Database", zh="数据库"),
}


class Found(NamedTuple):
    """What looking at a part gave."""

    status: CheckStatus
    found: str
    cure: Words | None = None


class EnvironmentService:
    """Looks at what a task needs."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        jobs: Jobs,
        tracking: Tracking | None,
        compute: ComputeService,
    ) -> None:
        self._database = database
        self._settings = settings
        self._jobs = jobs
        self._tracking = tracking
        self._compute = compute
        self._hanging: dict[str, list[threading.Thread]] = {name: [] for name in LABELS}
        self._lock = threading.Lock()

    def examine(self, device: str = "auto", disk_bytes: int | None = None) -> Environment:
        """Look at every part.

        Args:
            device: What the task would train on: `auto`, `cpu` or `gpu`.
            disk_bytes: What it would write; None when nobody has estimated it.
        """
        looks: dict[str, Callable[[], Found]] = {
            "ray": self._ray,
            "packages": self._packages,
            "optional": self._optional,
            "gpu": lambda: self._gpu(device),
            "storage": self._storage,
            "mlflow": self._mlflow,
            "disk": lambda: self._disk(disk_bytes),
            "memory": self._memory,
            "database": self._read_database,
        }
        answers: queue.SimpleQueue[tuple[str, Found]] = queue.SimpleQueue()
        threads = {name: self._start(name, look, answers) for name, look in looks.items()}
        deadline = time.monotonic() + LIMIT_SECONDS
        for thread in threads.values():
            if thread is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        found: dict[str, Found] = {}
        while not answers.empty():
            name, answer = answers.get()
            found[name] = answer
        checks = [_check(name, found.get(name) or _silent()) for name in looks]
        return Environment(ok=all(check.status is not FAILED for check in checks), checks=checks)

    def _start(
        self, name: str, look: Callable[[], Found], answers: "queue.SimpleQueue[tuple[str, Found]]"
    ) -> threading.Thread | None:
        def run() -> None:
            try:
                answer = look()
            except TunesmithError as error:
                answer = Found(FAILED, words_without_secrets(error.message), _CURES.get(name, _LOGS))
            except BaseException as error:  # whatever breaks in one look is that part's finding
                words = f"{type(error).__name__}: {words_without_secrets(error)}"
                answer = Found(FAILED, words, _CURES.get(name, _LOGS))
            answers.put((name, answer))

        with self._lock:
            alive = [thread for thread in self._hanging[name] if thread.is_alive()]
            self._hanging[name] = alive
            if len(alive) >= _MOST_HANGING:
                return None
            thread = threading.Thread(target=run, name=f"look-{name}", daemon=True)
            alive.append(thread)
            thread.start()
        return thread

    # --- the looks

    def _is_one_machine(self) -> bool:
        """Whether Ray runs where the control plane does: then this machine's packages and memory are the jobs'."""
        return self._compute.look().machine is not None

    def _ray(self) -> Found:
        has = self._jobs.cluster()
        gpus = f"{has.gpus:g} GPUs" if has.gpus else "no GPU"
        nodes = "1 node" if has.nodes == 1 else f"{has.nodes} nodes"
        words = f"{has.version}, {nodes}, {has.cpus:g} CPUs, {gpus}, {has.memory_bytes / _GB:.1f} GiB"
        ours = version("ray")
        if not has.nodes or not has.cpus:
            return Found(
                FAILED,
                words,
                Words(en="Add a node with CPUs to the cluster.", zh="请为集群添加带 CPU 的节点。"),
            )
        if ours and ours != has.version:
            cure = Words(
                en=f"The platform was made with Ray {ours}: install that on the cluster.",
                zh=f"平台使用 Ray {ours}，请在集群上安装相同版本。",
            )
            return Found(WARNING, words, cure)
        return Found(OK, words)

    def _packages(self) -> Found:
        extras = ("platform", "jobs") if self._is_one_machine() else ("platform",)
        wrong = [finding for finding in packages(extras=extras) if finding.verdict is Verdict.PROBLEM]
        if wrong:
            first = wrong[0].cure.strip("`")
            cure = Words(en=f"Install them: `{first}`.", zh=f"请安装：`{first}`。")
            return Found(FAILED, "; ".join(f"{finding.what} {finding.found}" for finding in wrong), cure)
        shown = [f"{name} {found}" for name in _SHOWN_PACKAGES if (found := version(name))]
        return Found(OK, ", ".join(shown))

    def _optional(self) -> Found:
        """What the choices need that not every task makes; one that lacks its package is refused when it is made."""
        if not self._is_one_machine():
            return Found(OK, "those of Ray's nodes count: a task looks for its own when it starts")
        there = [module for module in OPTIONAL if is_installed(module)]
        missing = [f"{one.module} ({one.chosen_by})" for one in OPTIONAL.values() if one.module not in there]
        words = f"installed: {', '.join(there) or 'none'}"
        return Found(OK, words + (f"; not installed: {'; '.join(missing)}" if missing else ""))

    def _gpu(self, device: str) -> Found:
        if device == "cpu":
            return Found(OK, "not asked for")
        try:
            has = self._jobs.cluster()
        except TunesmithError:
            return Found(WARNING, "not known while Ray does not answer", _CURES["ray"])
        if not has.nodes:
            return Found(WARNING, "not known while Ray has no node", _CURES["ray"])
        gpus = has.gpus
        names = ", ".join(gpu.name for gpu in hardware().gpus) if self._is_one_machine() else ""
        words = f"{gpus:g} in the cluster" + (f": {names}" if names else "")
        if not gpus:
            return (
                Found(FAILED, "none in the cluster", Words(en=NO_GPU.hint or "", zh=NO_GPU_CURE_ZH))
                if device == "gpu"
                else Found(OK, "none: the CPU trains")
            )
        if self._is_one_machine() and "+cpu" in version("torch"):
            cure = Words(
                en="PyTorch is a CPU build: install its CUDA build to use the GPU.",
                zh="当前 PyTorch 为 CPU 版本，请安装 CUDA 版本以使用 GPU。",
            )
            return Found(FAILED if device == "gpu" else WARNING, f"{words}; torch {version('torch')}", cure)
        return Found(OK, words)

    def _storage(self) -> Found:
        """Write, read and delete for real: permissions, quotas and read-only mounts show only then."""
        uri = self._settings.storage_uri
        storage = open_storage(uri)
        name, data = f".probe-{secrets.token_hex(8)}", secrets.token_bytes(16)
        try:
            storage.write(name, data)
            if storage.read(name) != data:
                return Found(FAILED, f"`{uri}` gives back other bytes than were written", _CURES["storage"])
        finally:
            remove_names(storage, "", name)
        return Found(OK, f"`{uri}` was written and read")

    def _mlflow(self) -> Found:
        if self._tracking is None:
            return Found(OK, "not used")
        try:
            return Found(
                OK, f"{self._tracking.version()} at {self._settings.mlflow_url}".removesuffix(" at ")
            )
        except TunesmithError as error:  # it delays the mirror and nothing else
            return Found(WARNING, error.message, _CURES["mlflow"])

    def _disk(self, wanted: int | None) -> Found:
        folders = [self._settings.work_dir]
        storage = local_path(self._settings.storage_uri)
        if storage is not None:
            folders.append(storage)
        free, folder = min((shutil.disk_usage(existing(path)).free, str(path)) for path in folders)
        words = f"{free / _GB:.1f} GiB free for `{folder}`"
        if wanted is not None:
            words += f", {wanted / _GB:.1f} GiB forecast"
            if wanted > free:
                return Found(FAILED, words, _CURES["disk"])
        if free - (wanted or 0) < _LITTLE_DISK:
            return Found(WARNING, words, _CURES["disk"])
        return Found(OK, words)

    def _memory(self) -> Found:
        if not self._is_one_machine():
            return Found(OK, "that of Ray's nodes counts")
        memory = psutil.virtual_memory()
        words = f"{memory.available / _GB:.1f} of {memory.total / _GB:.1f} GiB free"
        if memory.available < _LITTLE_MEMORY:
            cure = Words(
                en="End other programs, or choose a smaller model or batch.",
                zh="请关闭其他程序，或选择更小的模型或批次。",
            )
            return Found(WARNING, words, cure)
        return Found(OK, words)

    def _read_database(self) -> Found:
        self._database.ping()
        return Found(OK, "SQLite" if self._database.is_sqlite else "PostgreSQL")


_LOGS = Words(en="`tunesmith logs api` has the details.", zh="详情请查看 `tunesmith logs api`。")
_CURES = {
    "ray": Words(
        en="`tunesmith status` shows whether Ray runs, `tunesmith logs ray` why not; tasks wait until it answers.",
        zh="请用 `tunesmith status` 查看 Ray 是否运行，用 `tunesmith logs ray` 查看原因；任务会等待其恢复。",
    ),
    "storage": Words(
        en="Make it writable for the user of the platform, or set `TUNESMITH_STORAGE_URI` to another place.",
        zh="请确保平台用户可写该位置，或将 TUNESMITH_STORAGE_URI 设为其他位置。",
    ),
    "mlflow": Words(
        en="`tunesmith logs mlflow` says why; training goes on without it and is shown there later.",
        zh="原因见 `tunesmith logs mlflow`；训练不受影响，恢复后会补传。",
    ),
    "disk": Words(
        en="Free some, keep fewer checkpoints (`save_total_limit`), or save less often (`save_steps`).",
        zh="请清理磁盘、减少保留的检查点（save_total_limit）或降低保存频率（save_steps）。",
    ),
}


def _silent() -> Found:
    cure = Words(
        en="Look whether this part is overloaded or its network is broken, then check again.",
        zh="请检查该组件是否过载或网络中断，然后重试。",
    )
    return Found(FAILED, f"did not answer within {LIMIT_SECONDS:g} s", cure)


def _check(name: str, found: Found) -> EnvironmentCheck:
    return EnvironmentCheck(
        name=name, label=LABELS[name], status=found.status, found=found.found, cure=found.cure
    )
