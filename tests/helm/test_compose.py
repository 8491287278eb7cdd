"""The compose file names what there is (images, settings, secrets), and gives no more rights than the chart does."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunesmith_platform.settings import Settings

INFRA = Path(__file__).resolve().parents[2] / "infra"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((INFRA / "compose.yaml").read_text())["services"]
    return found


def test_every_service_runs_an_image_of_ours_without_rights(services: dict[str, dict[str, Any]]) -> None:
    files = {file.name.removesuffix(".Dockerfile") for file in (INFRA / "images").glob("*.Dockerfile")}
    assert set(services) >= {
        "postgres",
        "s3",
        "mlflow",
        "ray-head",
        "ray-worker",
        "platform",
        "loops",
        "migrate",
    }
    for name, service in services.items():
        image = service["image"].split("/tunesmith-")[1].partition(":")[0].removesuffix("-cpu")
        assert image in files, name
        assert (service["read_only"], service["cap_drop"], service["user"]) == (
            True,
            ["ALL"],
            "10001:10001",
        ), name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} is open to the network"


@pytest.mark.parametrize("file", sorted((INFRA / "images").glob("*.Dockerfile")), ids=lambda file: file.stem)
def test_a_volume_belongs_to_the_user_that_writes_it(file: Path) -> None:
    """A volume that is made for a container takes its owner from the image; root's would be nobody's to write."""
    text = file.read_text()
    assert text.count("\nUSER 10001:10001\n") == 1
    for volume in re.findall(r"^VOLUME (\S+)$", text, re.MULTILINE):
        assert f"chown 10001:10001 {volume}\n" in text


def test_every_variable_is_a_setting_of_ours_and_is_taken(
    services: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in os.environ if each.startswith("TUNESMITH_")]:
        monkeypatch.delenv(name)
    known = {f"TUNESMITH_{field.upper()}" for field in Settings.model_fields}
    given = {
        key: value
        for key, value in services["platform"]["environment"].items()
        if key.startswith("TUNESMITH_")
    }
    assert len(given) > 15
    assert set(given) <= known
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert Settings().serve_bind == "0.0.0.0"


def test_the_secrets_that_it_reads_are_made_once(services: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    script = shutil.copy(INFRA / "scripts" / "compose_secrets.sh", tmp_path / "scripts")
    subprocess.run([script], check=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    declared = yaml.safe_load((INFRA / "compose.yaml").read_text())["secrets"]
    read = {Path(secret["file"]).name for secret in declared.values()}
    read |= {Path(file["path"]).name for service in services.values() for file in service.get("env_file", [])}
    assert set(made) == read
    assert all(len(text) > 30 for text in made.values())
    assert made["api-key"].startswith("ts-")
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    subprocess.run([script], check=True)
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == made
