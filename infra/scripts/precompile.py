"""Import once what the platform's processes import, so that Python keeps its bytecode: each of them then starts sooner.

uv installs sources, and to compile all of them takes three times as long as to install them: most are never imported.
What cannot be imported here is left to who needs it.
"""

import contextlib
import importlib
import io
import os
import pkgutil
import sys
import warnings

OURS = ("tunesmith", "tunesmith_platform", "tunesmith_jobs")
OTHERS = (
    # What libraries import late, and what runs in processes that they start.
    "transformers.models.llama.modeling_llama",
    "transformers.models.qwen2.modeling_qwen2",
    "transformers.trainer",
    "transformers.integrations",
    "torch.distributed.elastic.multiprocessing",
    "torch.utils.data._utils.worker",
    "torch._dynamo",
    "ray.train.torch",
    "ray.train.v2._internal.execution.controller",
    "ray._private.workers.default_worker",
    "ray._private.runtime_env.agent.main",
    "ray.dashboard.dashboard",
    "ray.dashboard.agent",
    "ray.dashboard.modules.job.job_supervisor",
    "ray.autoscaler._private.monitor",
    "ray.scripts.scripts",
    "mlflow.server",
    "mlflow.server.fastapi_app",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.cli",
    "alembic.command",
    "sqlalchemy.dialects.sqlite",
    "uvicorn.protocols.http.auto",
    "safetensors.torch",
    "tensorboardX",
    "pandas",
    "pyarrow.parquet",
    "pytest",
    "_pytest.assertion.rewrite",
    "xdist",
)


def main() -> None:
    """Import them all; nothing is said of what does not work."""
    warnings.simplefilter("ignore")
    sys.dont_write_bytecode = False
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
    for name in [*_modules_of(OURS), *OTHERS]:
        nowhere = io.StringIO()
        said = contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere)
        with said[0], said[1], contextlib.suppress(BaseException):
            importlib.import_module(name)


def _modules_of(packages: tuple[str, ...]) -> list[str]:
    """Every module of some packages but those that run something when they are imported."""
    found = []
    for package in packages:
        path = importlib.import_module(package).__path__
        found += [one.name for one in pkgutil.walk_packages(path, f"{package}.", onerror=lambda _: None)]
    return [name for name in found if not name.endswith("__main__") and ".migrations." not in name]


if __name__ == "__main__":
    main()
