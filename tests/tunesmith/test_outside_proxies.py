"""Proxies that were put aside are put on by what goes outside, and by nothing else."""

import os

import httpx
import pytest
from recording_proxy import recording_proxy

from tunesmith import proxies


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in proxies.NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_what_goes_outside_takes_the_proxy_and_comes_back_without(monkeypatch: pytest.MonkeyPatch) -> None:
    with recording_proxy() as proxy:
        for name, value in proxies.put_aside(proxy.environment).items():
            monkeypatch.setenv(name, value)
        before = dict(os.environ)
        with proxies.going_outside():
            reply = httpx.get("http://hub.invalid/data", trust_env=True)
            assert os.environ["no_proxy"] == "localhost,127.0.0.1,::1"
        assert reply.status_code == 502, "the proxy's own answer"
        (heard,) = proxy.heard
        assert heard.startswith(b"GET http://hub.invalid/data")
        assert dict(os.environ) == before
        with pytest.raises(httpx.ConnectError):
            httpx.get("http://hub.invalid/data", trust_env=True)
        assert len(proxy.heard) == 1


def test_an_environment_without_proxies_puts_nothing_on() -> None:
    assert proxies.put_aside({"NO_PROXY": "x", "HTTP_PROXY": ""}) == {}
    before = dict(os.environ)
    with proxies.going_outside():
        assert dict(os.environ) == before


def test_rubbish_that_was_put_aside_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(proxies.ASIDE, "{")
    assert proxies.outside() == {}


def test_what_was_set_before_is_there_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://mine")
    monkeypatch.setenv(proxies.ASIDE, '{"http_proxy": "http://other", "no_proxy": "a.example, localhost"}')
    with proxies.going_outside():
        assert os.environ["HTTP_PROXY"] == os.environ["http_proxy"] == "http://other"
        assert os.environ["no_proxy"] == "a.example,localhost,127.0.0.1,::1"
    assert os.environ["http_proxy"] == "http://mine"
    assert "HTTP_PROXY" not in os.environ
