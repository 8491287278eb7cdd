"""Which variables of the shell `tunesmith up` passes on, and to which part.

The rest stays behind. A shell holds keys of clouds, trackers and repositories, and what runs in a worker is whatever a
user brings. Names that end in `*` stand for all that begin so.
"""

import json
import re
from collections.abc import Iterable, Mapping

from tunesmith import proxies
from tunesmith.errors import InvalidInput
from tunesmith.evaluation.scores.judge import VARIABLE
from tunesmith.secret_values import FILE
from tunesmith_platform.secret_settings import secrets_of
from tunesmith_platform.settings import Settings

PASS = "TUNESMITH_PASS_ENVIRONMENT"  # noqa: S105  (a name)
EVERY_PART = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "TMP", "TEMP",
    "XDG_CACHE_HOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD",
    "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONWARNINGS", "PYTHONUTF8",
    "PYTHONIOENCODING", "PYTHONFAULTHANDLER",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "OMP_*", "GOMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "NVPL_*", "NUMEXPR_*", "MALLOC_*",
    "COVERAGE_PROCESS_START", "COVERAGE_FILE", "COV_CORE_*",
)  # fmt: skip
"""Where things lie, which language is spoken, whose certificates are believed, how many threads are started."""
WORKERS = (
    "CUDA_*", "CUBLAS_*", "CUDNN_*", "NVIDIA_*", "NCCL_*", "GLOO_*", "HIP_*", "ROCR_*", "HSA_*",
    "TORCH_*", "TORCHINDUCTOR_*", "PYTORCH_*", "TRITON_*", "ONEDNN_*", "DNNL_*", "ATEN_CPU_CAPABILITY", "DS_*",
    "CC", "CXX", "TOKENIZERS_PARALLELISM",
    "HF_HOME", "HF_ENDPOINT", "HF_HUB_*", "HF_DATASETS_*", "HF_XET_*", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE",
    "TUNESMITH_TOKEN_CACHE", "TUNESMITH_TOKEN_CACHE_GB",
)  # fmt: skip
"""What drives accelerators, and where models and data come from. A token of the hub is among what settings name."""
_ALSO_CALLED = {"HF_TOKEN": ("HF_TOKEN_PATH",)}
"""What a library itself calls the file that holds a secret."""
API = ("CUDA_VISIBLE_DEVICES", "NVIDIA_*", "PG*")
"""What the hardware is looked up by, and how PostgreSQL is reached."""
_STORAGE = "AWS_*"
_CHOSEN = frozenset(
    {
        "home", "host", "port", "api_url", "ray_url", "mlflow_url", "mlflow_token_file", "job_python", "models_dir",
        "work_dir", "api_key_file", "ray_token_file", "report_secret_file", "allowed_roots_file", "run_loops",
        "migrate_at_start", "serve_host", "serve_port", "serve_bind", "controller_port",
    }
)  # fmt: skip
"""Settings that are the supervisor's to choose, whatever the shell says."""
SETTINGS = (
    *(f"TUNESMITH_{name.upper()}" for name in Settings.model_fields if name not in _CHOSEN),
    *(f"TUNESMITH_{name.upper()}{FILE}" for name in secrets_of(Settings)),
)
"""Settings that `tunesmith up` takes from the shell."""
_OURS = ("RAY_", "TUNESMITH_", "MLFLOW_")


def passed_to(part: str, shell: Mapping[str, str]) -> dict[str, str]:
    """What a part gets of the shell's variables.

    Args:
        part: `ray` (so all jobs and workers), `mlflow` or `api`.
        shell: The variables of the shell that the platform was started from.

    Raises:
        InvalidInput: A list in them is none.
    """
    names = [*EVERY_PART]
    if part == "ray":
        names += [
            *WORKERS,
            *_with_files(
                [
                    *_named(shell, PASS, ()),
                    *_named(shell, "TUNESMITH_PIPELINE_ENVIRONMENT", ("HF_TOKEN",)),
                    *_keys_of_judges(shell),
                ]
            ),
        ]
    if part == "api":
        read = _named(shell, "TUNESMITH_PIPELINE_ENVIRONMENT", ("HF_TOKEN",))
        read += _named(shell, "TUNESMITH_WEBHOOK_ENVIRONMENT", ())
        names += [*API, *SETTINGS, *_with_files(read)]
    # MLflow's pages list what tasks save; what they read elsewhere it does not.
    if _uses_buckets(shell) if part in ("ray", "api") else bucket_of(shell):
        names.append(_STORAGE)
    found = _chosen(shell, names)
    return found | proxies.put_aside(shell) if part == "ray" else found


def passed_to_supervisor(shell: Mapping[str, str]) -> dict[str, str]:
    """What the supervisor gets: all that its parts may need. Jobs run as the same user, and could read the rest there.

    Raises:
        InvalidInput: A list in them is none.
    """
    kept = {
        name: value for part in ("ray", "mlflow", "api") for name, value in passed_to(part, shell).items()
    }
    kept.pop(proxies.ASIDE, None)
    names = [PASS, *(each for name in proxies.NAMES for each in (name, name.upper()))]
    return kept | {name: shell[name] for name in names if name in shell}


def stays_behind(shell: Mapping[str, str]) -> list[str]:
    """Variables that trackers need, are set, and do not reach the workers: their runs are written offline."""
    needed, passed = _with_files(["WANDB_API_KEY"]), passed_to("ray", shell)
    return [name for name in needed if name in shell and name not in passed]


def _named(shell: Mapping[str, str], setting: str, default: Iterable[str]) -> list[str]:
    """The names that a setting lists; those that are the supervisor's to choose are none."""
    text = shell.get(setting)
    if text is None:
        return [*default]
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip("*") for name in names):
        raise InvalidInput(
            f"`{setting}` is no JSON list of variables' names.",
            hint=f"""As in `{setting}='["WANDB_API_KEY"]'`.""",
        )
    return [name for name in names if not name.startswith(_OURS)]


def _with_files(names: Iterable[str]) -> list[str]:
    """Variables, and those that name a file that holds what they would hold."""
    return [each for name in names for each in (name, name + FILE, *_ALSO_CALLED.get(name, ()))]


def _keys_of_judges(shell: Mapping[str, str]) -> list[str]:
    """The variables that hold the keys of judging models. A setting that is none is refused by the API."""
    try:
        judges = json.loads(shell.get("TUNESMITH_JUDGES", "{}"))
    except ValueError:
        return []
    names = judges.values() if isinstance(judges, dict) else ()
    return [
        name
        for name in names
        if isinstance(name, str) and re.fullmatch(VARIABLE, name) and not name.startswith(_OURS)
    ]


def bucket_of(shell: Mapping[str, str]) -> str:
    """The place in a bucket in which tasks save; empty where that is a folder."""
    place = shell.get("TUNESMITH_STORAGE_URI", "").rstrip("/")
    return place if place.startswith("s3://") else ""


def _uses_buckets(shell: Mapping[str, str]) -> bool:
    return bool(bucket_of(shell)) or "s3://" in shell.get("TUNESMITH_ALLOWED_URIS", "")


def _chosen(shell: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    exact = {name for name in names if not name.endswith("*")}
    beginnings = tuple(name[:-1] for name in names if name.endswith("*"))
    return {
        name: value
        for name, value in shell.items()
        if name in exact or (beginnings and name.startswith(beginnings) and not name.startswith(_OURS))
    }
