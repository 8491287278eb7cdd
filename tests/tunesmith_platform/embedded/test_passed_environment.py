"""What `tunesmith up` passes on of the shell's variables: a list for each part, and not what else a shell holds."""

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from tunesmith.errors import InvalidInput
from tunesmith.home import Home
from tunesmith.proxies import ASIDE
from tunesmith_platform.embedded.commands import app
from tunesmith_platform.embedded.environment import (
    PASS,
    SETTINGS,
    passed_to,
    passed_to_supervisor,
    stays_behind,
)
from tunesmith_platform.embedded.parts import choose_ports, environment, parts
from tunesmith_platform.embedded.watching import INHERITED
from tunesmith_platform.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
PARTS = ("ray", "mlflow", "api")
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "canary",
    "WANDB_API_KEY": "canary",
    "GITHUB_TOKEN": "canary",
    "OPENAI_API_KEY": "canary",
    "HUGGING_FACE_HUB_TOKEN": "canary",
    "SSH_AUTH_SOCK": "canary",
    "MLFLOW_TRACKING_TOKEN": "canary",
    "RAY_AUTH_TOKEN": "canary",
    "TUNESMITH_API_KEY": "canary",
    "PATHOLOGY": "canary",
    "SOME_VARIABLE": "canary",
}
PLAIN = {
    "PATH": "/bin",
    "HOME": "/h",
    "LANG": "C",
    "LC_ALL": "C",
    "TZ": "UTC",
    "OPENBLAS_CORETYPE": "x",
    "SSL_CERT_FILE": "/c",
}
PROXIES = {
    "HTTP_PROXY": "http://proxy.example:1",
    "https_proxy": "http://u:p@proxy.example:1",
    "NO_PROXY": "a.example",
}


@pytest.mark.parametrize("part", PARTS)
def test_no_part_gets_what_only_the_shell_needs(part: str) -> None:
    assert passed_to(part, SECRETS | PLAIN) == PLAIN
    assert passed_to_supervisor(SECRETS | PLAIN) == PLAIN, (
        "jobs are of the same user, and could read it there"
    )


def test_the_parts_as_they_are_started_have_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (SECRETS | PROXIES).items():
        monkeypatch.setenv(name, value)
    home = Home(tmp_path)
    home.create()
    for part in parts(home, choose_ports({}), None):
        given = environment(home, part)
        assert "canary" not in given.values()
        assert not [name for name in given if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]
        assert given["TUNESMITH_HOME"] == str(tmp_path)


def test_workers_get_what_drives_their_devices_and_where_models_come_from() -> None:
    given = {
        "CUDA_VISIBLE_DEVICES": "1",
        "NCCL_DEBUG": "INFO",
        "HF_HOME": "/m",
        "HF_ENDPOINT": "https://hub.example",
    }
    assert passed_to("ray", given) == given
    assert passed_to("mlflow", given) == {}


def test_settings_name_what_workers_get_besides() -> None:
    shell = {
        "WANDB_API_KEY": "k",
        "WANDB_MODE": "online",
        "GITHUB_TOKEN": "g",
        "HF_TOKEN": "h",
        "MY_KEY": "m",
    }
    assert passed_to("ray", shell) == {"HF_TOKEN": "h"}, "pipelines may read it where nothing else is said"
    assert stays_behind(shell) == ["WANDB_API_KEY"]
    named = {**shell, PASS: '["WANDB_*"]', "TUNESMITH_PIPELINE_ENVIRONMENT": '["MY_KEY"]'}
    assert passed_to("ray", named) == {"WANDB_API_KEY": "k", "WANDB_MODE": "online", "MY_KEY": "m"}
    assert passed_to("api", named).keys() == {"MY_KEY", "TUNESMITH_PIPELINE_ENVIRONMENT"}
    assert stays_behind(named) == []
    assert passed_to("mlflow", named) == {}
    kept = passed_to_supervisor(named)
    assert passed_to("ray", kept) == passed_to("ray", named), "the supervisor passes on what it was given"


@pytest.mark.parametrize("name", ["RAY_ADDRESS", "MLFLOW_TRACKING_URI", "TUNESMITH_HOST"])
def test_a_setting_cannot_name_what_is_the_supervisors_to_choose(name: str) -> None:
    shell = {name: "x", PASS: json.dumps([name, f"{name[:-1]}*", "RA*", "ML*", "TU*"])}
    assert passed_to("ray", shell) == {}


@pytest.mark.parametrize("text", ["WANDB_API_KEY", "{}", "[1]", '["*"]', "["])
def test_a_list_that_is_none_is_refused_before_anything_starts(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASS, text)
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path))
    failure = CliRunner().invoke(app, ["up", "--allow", str(tmp_path)]).exception
    assert isinstance(failure, InvalidInput)
    assert PASS in failure.message


@pytest.mark.parametrize(
    "settings", [{"TUNESMITH_STORAGE_URI": "s3://b/x"}, {"TUNESMITH_ALLOWED_URIS": '["s3://b/data/"]'}]
)
def test_keys_of_buckets_go_where_buckets_are_used(settings: dict[str, str]) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_ENDPOINT_URL": "http://x"}
    assert passed_to("ray", keys | settings) == keys
    assert passed_to("api", keys | settings) == keys | settings
    saves_there = "TUNESMITH_STORAGE_URI" in settings
    assert passed_to("mlflow", keys | settings) == (keys if saves_there else {}), "its pages list saved files"


def test_keys_of_judges_go_to_the_workers_who_ask_them() -> None:
    keys = {"JUDGE_KEY": "sk-canary", "OTHER": "x", "MLFLOW_TRACKING_TOKEN": "x"}
    judges = {"https://a.example/v1": "JUDGE_KEY", "http://b/v1": "", "http://c/v1": "MLFLOW_TRACKING_TOKEN"}
    shell = keys | {"TUNESMITH_JUDGES": json.dumps(judges)}
    assert passed_to("ray", shell) == {"JUDGE_KEY": "sk-canary"}
    assert passed_to("api", shell) == {"TUNESMITH_JUDGES": shell["TUNESMITH_JUDGES"]}
    assert passed_to("mlflow", shell) == {}
    assert passed_to("ray", passed_to_supervisor(shell)) == passed_to("ray", shell)
    for text in ("[", "[1]", '{"http://a/v1": 1}', '{"http://a/v1": "*"}'):
        assert passed_to("ray", keys | {"TUNESMITH_JUDGES": text}) == {}


def test_a_key_in_place_of_its_variable_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_JUDGES", json.dumps({"https://a.example/v1": "sk-canary"}))
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "judges" in str(refused.value)
    assert "sk-canary" not in str(refused.value)


def test_what_the_database_is_opened_with_is_the_apis_alone() -> None:
    shell = {
        "TUNESMITH_DATABASE_URL": "postgresql://u:secret@h/d",
        "PGPASSWORD": "secret",
        "TUNESMITH_SMTP_PASSWORD": "s",
    }
    assert passed_to("api", shell) == shell
    assert passed_to("ray", shell) == passed_to("mlflow", shell) == {}


def test_a_file_goes_where_the_secret_would_go_that_it_holds() -> None:
    shell = {
        "HF_TOKEN_FILE": "/run/hub", "HF_TOKEN_PATH": "/run/hub", "JUDGE_FILE": "/run/judge",
        "WANDB_API_KEY_FILE": "/run/wandb", "GITHUB_TOKEN_FILE": "/run/github",
    }  # fmt: skip
    of_jobs = {"TUNESMITH_JUDGES": '{"https://a.example/v1": "JUDGE"}', PASS: '["WANDB_API_KEY"]'}
    of_the_api = {"TUNESMITH_SMTP_PASSWORD_FILE": "/run/mail", "TUNESMITH_DATABASE_URL_FILE": "/run/database"}
    assert stays_behind(shell) == ["WANDB_API_KEY_FILE"]
    given = shell | of_jobs | of_the_api
    wanted = {name: value for name, value in shell.items() if not name.startswith("GITHUB")}
    assert passed_to("ray", given) == wanted
    assert of_the_api.items() <= passed_to("api", given).items()
    assert stays_behind(given) == []


def test_settings_that_are_secrets_may_lie_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("DATABASE_URL", "postgresql+psycopg://u:canary-of-it@h/d"),
        ("SMTP_PASSWORD", "canary-of-mail"),
    ):
        file = tmp_path / name
        file.write_text(value + "\n")
        monkeypatch.setenv(f"TUNESMITH_{name}_FILE", str(file))
    given = Settings(home=tmp_path)
    assert given.database_url == "postgresql+psycopg://u:canary-of-it@h/d"
    assert given.smtp_password.get_secret_value() == "canary-of-mail"
    assert given.migrate_at_start is False
    monkeypatch.setenv("TUNESMITH_SMTP_PASSWORD", "set-itself")
    assert Settings(home=tmp_path).smtp_password.get_secret_value() == "set-itself"
    monkeypatch.setenv("TUNESMITH_DATABASE_URL_FILE", str(tmp_path / "none"))
    with pytest.raises(InvalidInput, match=r"TUNESMITH_DATABASE_URL_FILE.* No such file"):
        Settings(home=tmp_path)


@pytest.mark.parametrize(
    "name", ["MLFLOW_URL", "RAY_URL", "PUBLIC_URL", "API_URL", "STORAGE_URI", "ALLOWED_URIS"]
)
def test_an_address_that_is_shown_holds_no_password(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = "https://user:canary-of-it@host.example/x"
    monkeypatch.setenv(f"TUNESMITH_{name}", json.dumps([value]) if name.endswith("S") else value)
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert name.lower() in str(refused.value)
    assert "canary" not in str(refused.value)


def test_proxies_reach_those_alone_who_go_outside() -> None:
    given = passed_to("ray", PROXIES)
    assert set(given) == {ASIDE}
    assert json.loads(given[ASIDE])["https_proxy"] == "http://u:p@proxy.example:1"
    assert passed_to("api", PROXIES) == passed_to("mlflow", PROXIES) == {}
    assert passed_to("ray", passed_to_supervisor(PROXIES)) == given


def test_every_setting_that_is_named_anywhere_is_passed_on() -> None:
    """A hint or a guide that names a setting which `up` drops sends its reader in circles."""
    of_the_caller = {"TUNESMITH_HOME", "TUNESMITH_URL", "TUNESMITH_API_KEY", "TUNESMITH_DEBUG", PASS}
    of_the_caller |= {"TUNESMITH_LANG", "TUNESMITH_COMPLETE"}  # the latter is what a shell asks by
    of_servers_apart = {  # which `up` does not start; `servers.md` is about them
        f"TUNESMITH_{name}" for name in ("API_URL", "HOST", "MIGRATE_AT_START", "RUN_LOOPS")
    }
    pages = [*(ROOT / "platform" / "guide").rglob("*.md"), ROOT / "README.md"]
    sources = [file for folder in ("platform", "jobs", "serve") for file in (ROOT / folder).rglob("*.py")]
    named = {
        name
        for file in [*pages, *sources]
        if file.name != "parts.py"
        for name in re.findall(r"TUNESMITH_[A-Z]+(?:_[A-Z]+)*", file.read_text())
    }
    ours = {"TUNESMITH_INSTANCE", ASIDE, INHERITED, "TUNESMITH_MLFLOW_TOKEN_FILE"}
    lists = dict.fromkeys(("TUNESMITH_PIPELINE_ENVIRONMENT", "TUNESMITH_WEBHOOK_ENVIRONMENT"), "[]")
    passed = set(passed_to("api", dict.fromkeys(named, "x") | lists))
    passed |= set(passed_to("ray", dict.fromkeys(named - {PASS}, "x") | lists))
    assert named - passed - of_the_caller - of_servers_apart - ours == set()


def test_a_setting_is_either_the_shells_or_the_supervisors() -> None:
    chosen = {f"TUNESMITH_{name.upper()}" for name in Settings.model_fields} - set(SETTINGS)
    assert {"TUNESMITH_HOST", "TUNESMITH_RAY_URL", "TUNESMITH_MLFLOW_TOKEN_FILE"} <= chosen
    assert {"TUNESMITH_SMTP_HOST", "TUNESMITH_ALLOWED_URIS", "TUNESMITH_PUBLIC_URL"} <= set(SETTINGS)
