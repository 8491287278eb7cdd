"""What `make setup` installs with is told what pip here is told."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def install() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", ROOT / "infra" / "scripts" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_pip_is_configured_with_is_handed_on(install: ModuleType) -> None:
    listing = "\n".join(
        [
            ":env:.find-links='/from/environment'",
            "global.cert='/etc/ssl/ca.crt'",
            "global.constraint='/etc/pins.txt'",
            "global.extra-index-url='https://one.example/simple https://two.example/simple'",
            "global.find-links='/from/file'",
            "global.index-url='https://zero.example/simple'",
            "global.timeout='60'",
            "install.timeout='90'",
            "download.timeout='5'",
            "nothing",
        ]
    )
    settings = install.settings_of(listing)
    assert settings["find-links"] == "/from/environment"
    assert settings["timeout"] == "90"
    assert install.environment_for_uv(settings, {}) == {
        "SSL_CERT_FILE": "/etc/ssl/ca.crt",
        "UV_CONSTRAINT": "/etc/pins.txt",
        "UV_DEFAULT_INDEX": "https://zero.example/simple",
        "UV_FIND_LINKS": "/from/environment",
        "UV_HTTP_TIMEOUT": "90",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def test_several_values_on_lines_of_their_own(install: ModuleType) -> None:
    settings = install.settings_of("global.find-links='\\n/a\\n/b'")
    assert install.environment_for_uv(settings, {})["UV_FIND_LINKS"] == "/a,/b"


def test_what_is_said_to_uv_itself_stays(install: ModuleType) -> None:
    settings = install.settings_of("global.index-url='https://zero.example/simple'")
    given = install.environment_for_uv(settings, {"UV_DEFAULT_INDEX": "https://mine.example/simple"})
    assert given["UV_DEFAULT_INDEX"] == "https://mine.example/simple"
