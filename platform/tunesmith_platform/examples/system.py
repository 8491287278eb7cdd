"""The platform itself."""

from tunesmith import views
from tunesmith.environment import CheckStatus, Environment, EnvironmentCheck, Words

SYSTEM = views.SystemView(
    version="0.1.0",
    parts=[views.PartHealth(name="ray", ok=True)],
    tasks_by_state={"running": 1, "completed": 3},
    max_concurrent_jobs=1,
    warm_runners=1,
    allowed_roots=["/data"],
    mlflow_url="http://127.0.0.1:5000",
)
MLFLOW_LINK = views.MlflowLink(
    url="http://127.0.0.1:5000/_tunesmith/enter?code=eyJub25jZSI6Ii4uLiJ9.5f3a", valid_seconds=60
)
ENVIRONMENT = Environment(
    ok=False,
    checks=[
        EnvironmentCheck(
            name="ray",
            label=Words(en="Ray", zh="Ray 集群"),
            status=CheckStatus.OK,
            found="2.60.0, 1 node, 8 CPUs, no GPU, 24.0 GiB",
        ),
        EnvironmentCheck(
            name="disk",
            label=Words(en="Disk", zh="磁盘空间"),
            status=CheckStatus.FAILED,
            found="3.2 GiB free, 9.0 GiB forecast",
            cure=Words(
                en="Free some, or lower `save_total_limit`.", zh="请清理磁盘，或调低 save_total_limit。"
            ),
        ),
    ],
)
LORA_FILE = {
    "path": "/data/lora.json",
    "values": {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]},
}
FOLDER = {
    "path": "/data",
    "parent": None,
    "entries": [
        {
            "name": "qwen3-0.6b",
            "path": "/data/qwen3-0.6b",
            "is_folder": True,
            "is_model": True,
            "bytes": None,
        },
        {
            "name": "alpaca.jsonl",
            "path": "/data/alpaca.jsonl",
            "is_folder": False,
            "is_model": False,
            "bytes": 22773992,
        },
    ],
    "has_more": False,
}
