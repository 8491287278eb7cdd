"""A secret is named by its variable or its file, read where it is used, and taken out of whatever is kept."""

import base64
import json
import logging
from pathlib import Path

import pytest
from canaries import canary, forms, leaks

from tunesmith import secret_values
from tunesmith.errors import InvalidInput
from tunesmith.secret_values import (
    FILE,
    HidingFormatter,
    hide,
    hide_in_json,
    hide_known,
    known_secrets,
    named,
)


@pytest.fixture(autouse=True)
def _none_read_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_values, "_read", set())


def test_a_variable_holds_it_or_a_file_does(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("of-the-file\n")
    assert named("TOKEN", {}) == ""
    assert named("TOKEN", {"TOKEN": " itself "}) == "itself"
    assert named("TOKEN", {"TOKEN" + FILE: str(file)}) == "of-the-file"
    assert named("TOKEN", {"TOKEN": "itself", "TOKEN" + FILE: str(file)}) == "itself"
    file.write_text("another")
    assert named("TOKEN", {"TOKEN" + FILE: str(file)}) == "another", (
        "it may be replaced while the platform runs"
    )


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00canary"])
def test_a_file_that_cannot_be_read_is_said_to_be_that(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidInput, match="`TOKEN_FILE`") as refused:
        named("TOKEN", {"TOKEN" + FILE: str(file)})
    assert "canary" not in str(refused.value)
    assert refused.value.hint


def test_all_secrets_of_an_environment_are_known(tmp_path: Path) -> None:
    value = [canary() for _ in range(9)]
    (tmp_path / "one").write_text(value[0] + "\n")
    (tmp_path / "aws").write_text(
        f"[default]\nregion = eu-central-1\naws_access_key_id = named\naws_secret_access_key = {value[1]}\n"
        f"[other]\naws_session_token = {value[2]}\n"
    )
    environment = {
        "HF_TOKEN_PATH": str(tmp_path / "one"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "aws"),
        "AWS_SECRET_ACCESS_KEY": f"/{value[3]}",
        "PGPASSWORD": value[4],
        "TUNESMITH_DATABASE_URL": f"postgresql+psycopg://tunesmith:{value[5]}%40@host/d",
        "TUNESMITH_OUTSIDE_PROXIES": json.dumps({"http_proxy": f"http://u:{value[6]}@proxy.example:1"}),
        "wandb_api_key": value[7],
        "SOME_KEY_FILE": "/nowhere",
        "HOME_TOKEN": str(tmp_path),
        "A_KEY": "short",
        "PATH": "/usr/local/bin",
        "POSTGRES_URL": "postgresql://postgres:postgres@h/d",
        "PUBLIC_URL": "https://somebody@example.org",
    }
    known = known_secrets(environment)
    assert known == {*value[:3], f"/{value[3]}", value[4], value[5] + "%40", value[5] + "@", *value[6:8]}
    named("ANYTHING", {"ANYTHING": value[8]})
    assert known_secrets({}) == {value[8]}, "what was read as one, whatever its variable is called"


@pytest.mark.parametrize(
    "value", ["plain-words-of-it", 'with"quotes\\and/slash', "with space+and&é", "日本語のパスワード"]
)
def test_it_is_hidden_in_every_form(value: str) -> None:
    known = frozenset({value, "with"})
    for text in (value, f"x{value}y", json.dumps({"key": value}), repr({"key": value})):
        assert "***" in hide_known(text, known)
        assert not any(form in hide_known(text, known).encode() for form in forms(value) if len(form) > 8)
    kept = {"kind": "log", "message": f"it said {value}", "more": [{"deep": value, value: 1}], "n": 1.5}
    line = hide_in_json(json.dumps(kept).encode(), frozenset({value}))
    found = json.loads(line)
    assert (found["message"], found["more"][0]["deep"], found["n"]) == ("it said ***", "***", 1.5)


@pytest.mark.parametrize("user", ["", "a", "ap", "api:"])
def test_it_is_hidden_where_it_is_packed(user: str) -> None:
    """As a header of HTTP holds a name and a password."""
    value = canary()
    packed = base64.b64encode(f"{user}{value}".encode()).decode()
    assert "***" in hide_known(f"it said {packed}", frozenset({value}))
    assert leaks({"it": value}, {"said": hide_known(packed, frozenset({value})).encode()}) == []
    assert hide(f"Authorization: Basic {packed}, and more") == "Authorization: Basic ***, and more"


def test_what_holds_none_stays_byte_by_byte() -> None:
    line = b'{"message": "nothing \\u00e9 of it"}'
    assert hide_in_json(line, frozenset({"a-secret-of-somebody"})) is line


def test_a_line_of_a_log_is_without_it_in_its_traceback_too() -> None:
    value = canary()
    try:
        raise ValueError(f"refused: {value}")
    except ValueError as error:
        record = logging.LogRecord(
            "n", logging.ERROR, "p", 1, "%s", (value,), (ValueError, error, error.__traceback__)
        )
    said = HidingFormatter("%(message)s", frozenset({value})).format(record)
    assert value not in said
    assert "ValueError: refused: ***" in said
