"""How the studio's files are served: policy, caching, base paths, and nothing of the API is hidden by them."""

import gzip
from pathlib import Path

import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from starlette.applications import Starlette

from tunesmith_platform.middleware import BelowPath
from tunesmith_ui import pages
from tunesmith_ui.pages import Studio

UNSAFE = ("unsafe-inline", "unsafe-eval", "unsafe-hashes", "wasm-unsafe-eval", "strict-dynamic", "*")


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A studio of three files."""
    folder = tmp_path / "built"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text('<meta name="csp-nonce" content="@NONCE@"><meta content="@BUILD@">')
    script = folder / "assets" / "index-aB3.js"
    script.write_text("export {};")
    script.with_name("index-aB3.js.gz").write_bytes(gzip.compress(b"export {};"))
    (tmp_path / "secret").write_text("no")
    return folder


@pytest.fixture
def studio(built: Path) -> TestClient:
    app = Starlette()
    app.mount("/studio", Studio(built))
    return TestClient(app)


def test_the_page_has_a_policy_without_an_unsafe_word_and_a_nonce_of_its_own(studio: TestClient) -> None:
    replies = [studio.get("/studio/") for _ in range(2)]
    policies = [reply.headers["content-security-policy"] for reply in replies]
    for reply, policy in zip(replies, policies, strict=True):
        assert "default-src 'self'" in policy
        assert not [word for word in UNSAFE if word in policy]
        nonce = policy.partition("'nonce-")[2].partition("'")[0]
        assert f'content="{nonce}"' in reply.text
        assert "@" not in reply.text
        assert reply.headers["cache-control"] == "no-store"
    assert policies[0] != policies[1]


def test_what_is_named_by_its_hash_is_kept_and_sent_packed(studio: TestClient) -> None:
    reply = studio.get("/studio/assets/index-aB3.js")
    assert (reply.text, reply.headers["content-encoding"]) == ("export {};", "gzip")
    assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert reply.headers["content-type"].startswith("text/javascript")
    plain = studio.get("/studio/assets/index-aB3.js", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize("address", ["/studio/assets/index-aB3.js", "/team/studio/assets/index-aB3.js"])
def test_a_proxys_path_may_be_taken_off_or_not(built: Path, address: str) -> None:
    app = Starlette()
    app.mount("/studio", Studio(built))
    assert TestClient(BelowPath(app, "/team")).get(address).text == "export {};"


def test_a_build_that_is_replaced_is_said_to_open_tabs(studio: TestClient, built: Path) -> None:
    before = studio.get("/studio/build").text
    assert before
    assert before in studio.get("/studio/").text
    (built / "index.html").write_text("<p>another</p>")
    assert studio.get("/studio/build").text != before


@pytest.mark.parametrize(
    "path", ["../secret", "%2e%2e/secret", "assets/../../secret", "a%00b", "..%2fsecret", "assets", "nothing"]
)
def test_nothing_else_is_served(studio: TestClient, path: str) -> None:
    assert studio.get(f"/studio/{path}").status_code == 404


def test_pages_only_read(studio: TestClient) -> None:
    assert studio.post("/studio/").status_code == 405


def test_without_a_build_the_page_says_how_in_both_languages(tmp_path: Path) -> None:
    app = Starlette()
    app.mount("/studio", Studio(tmp_path))
    reply = TestClient(app).get("/studio/")
    assert reply.status_code == 503
    assert "make studio" in reply.text
    assert "尚未构建" in reply.text


def test_the_platform_serves_it_beside_the_api(
    plane: Plane, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for entrance, target in (("/", "studio/"), ("/studio", "studio/")):
        reply = client.get(entrance, follow_redirects=False)
        assert (reply.status_code, reply.headers["location"]) == (307, target), "below any proxy's path too"
    assert client.get("/studio/").headers["content-security-policy"]
    assert client.get("/v1/tasks").status_code == 200
    assert client.get("/v1/nothing").json()["error"]["code"] == "not_found"
    assert client.get("/openai/v1/models").status_code == 200
    assert client.get("/docs").status_code == 200
    assert not [path for path in plane.app.openapi()["paths"] if "studio" in path]
    assert pages.BUILT.name == "built"
