"""The studio's Test page on a platform whose model is a stand-in: thoughts are folded, talks are their user's own.

No Ray runs here; the servers, the browser and what is kept are the real ones.
"""

import asyncio
import contextlib
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from chat_bench import ChatBench, served_bench
from conftest_platform import Plane
from playwright.sync_api import Browser, BrowserContext, expect
from served import served
from stand_in_replica import end, hello, piece
from studio_browser import Tab
from waiting import free_port

from tunesmith.chat.wire import Ask
from tunesmith.client import Client

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]
__all__ = ["served_bench"]


@pytest.fixture
def bench(served_bench: ChatBench) -> Iterator[ChatBench]:
    served_bench.replica.script = hello
    yield served_bench
    served_bench.idle()


def signed_in(context: BrowserContext, url: str, key: str) -> Tab:
    """A tab that a user's key has signed in."""
    with Client(url=url, api_key=key) as client:
        link = client.sign_in_link()
    found = Tab(context, url)
    found.page.goto(f"{url}/studio/{link.url.partition('/studio/')[2]}")
    found.page.get_by_role("navigation").wait_for()
    return found


def asked(tab: Tab, text: str) -> None:
    tab.page.get_by_label("Your message").fill(text)
    tab.page.get_by_role("button", name="Send").click()


def test_what_is_thought_is_folded_while_it_comes_and_afterwards(
    bench: ChatBench, context: BrowserContext
) -> None:
    goes_on = threading.Event()

    async def thinks(_ask: Ask) -> AsyncIterator[Any]:
        for word in ("<thi", "nk>\nTwo and", " two"):
            yield piece(word)
        while not goes_on.is_set():
            await asyncio.sleep(0.02)
        for word in (" make four.</think>\n\n", "It is", " four."):
            yield piece(word)
        yield end()

    bench.replica.script = thinks
    tab = signed_in(context, bench.url, bench.plane.api_key)
    page = tab.page
    tab.go("test")
    asked(tab, "What is 2 plus 2?")
    folded = page.locator("details").filter(has_text="Two and two")
    expect(folded).to_be_visible()
    expect(folded.get_by_text("Two and two")).to_be_hidden()
    goes_on.set()
    expect(page.get_by_role("button", name="Answer again")).to_be_visible()
    page.reload()
    answer = page.locator(".turn-assistant")
    expect(answer).to_contain_text("It is four.")
    thought = answer.get_by_text("Two and two make four.")
    expect(thought).to_be_hidden()
    answer.get_by_text("Thoughts").click()
    expect(thought).to_be_visible()
    expect(answer.locator(".markdown")).not_to_contain_text("think")
    tab.expect_clean()


def test_each_user_sees_talks_of_their_own_alone(
    bench: ChatBench, context: BrowserContext, browser: Browser
) -> None:
    other = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    ann = signed_in(context, bench.url, bench.plane.key("ann"))
    bea = signed_in(other, bench.url, bench.plane.key("bea"))
    with bench.cluster():  # each has a model of their own served
        for tab, text in ((ann, "a secret of ann's"), (bea, "a word of bea's")):
            tab.go("test")
            asked(tab, text)
            expect(tab.page.get_by_role("button", name="Answer again")).to_be_visible()
    bea.page.reload()
    expect(bea.page.get_by_role("link", name=re.compile("a word of bea's"))).to_be_visible()
    expect(bea.page.get_by_text("a secret of ann's")).to_have_count(0)
    bea.go(f"test/{ann.page.url.rpartition('/')[2]}")
    expect(bea.page.get_by_role("alert").first).to_be_visible()
    expect(bea.page.get_by_text("a secret of ann's")).to_have_count(0)
    ann.page.reload()
    expect(ann.page.get_by_text("a secret of ann's").first).to_be_visible()
    assert ann.errors == bea.errors == []
    other.close()


class Balancer:
    """What stands before several servers: each connection goes to the next one that lives."""

    def __init__(self, *ports: int) -> None:
        self.port, self._ports = free_port(), list(ports)
        self._open: dict[int, list[socket.socket]] = {port: [] for port in ports}
        self._turn = 0
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            port = self._ports[self._turn % len(self._ports)]
            self._turn += 1
            server = socket.create_connection(("127.0.0.1", port))
            self._open[port] += [client, server]
            for one, to in ((client, server), (server, client)):
                threading.Thread(target=_pass_on, args=(one, to), daemon=True).start()

    def kill(self, port: int) -> int:
        """A server is gone, with all that went through it; returns how many connections that were."""
        self._ports.remove(port)
        for one in self._open[port]:
            _close(one)
        return len(self._open[port]) // 2

    def close(self) -> None:
        self._listener.close()


def _pass_on(one: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            to.sendall(data)
    _close(one)
    _close(to)


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@pytest.mark.long
def test_a_page_lives_through_the_death_of_one_of_several_servers(
    bench: ChatBench, context: BrowserContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of an answer: what was said is there, the next question is answered, each once."""
    second = Plane(bench.plane.home, serve_port=bench.replica.port)
    with served(second.app, second.api_key, monkeypatch) as other, bench.cluster():
        first_port, second_port = (int(url.rpartition(":")[2]) for url in (bench.url, other))
        balancer = Balancer(first_port, second_port)
        url = f"http://127.0.0.1:{balancer.port}"
        tab = signed_in(context, url, bench.plane.key("cleo"))
        page = tab.page
        tab.go("test")
        asked(tab, "before")
        expect(page.get_by_role("button", name="Answer again")).to_be_visible()
        hangs = threading.Event()

        async def hanging(_ask: Ask) -> AsyncIterator[Any]:
            yield piece("It begins")
            while not hangs.is_set():
                await asyncio.sleep(0.02)

        bench.replica.script = hanging
        asked(tab, "in the middle")
        expect(page.get_by_text("It begins")).to_be_visible()
        bench.replica.script = hello
        for port in (first_port, second_port):
            if any(one.fileno() >= 0 for one in balancer._open[port]):
                assert balancer.kill(port) > 0
                break
        hangs.set()
        expect(page.get_by_role("button", name="Answer again")).to_be_visible()
        asked(tab, "afterwards")
        expect(page.locator(".turn-assistant")).to_have_count(3)
        expect(page.get_by_role("button", name="Answer again")).to_be_visible()
        page.reload()
        expect(page.locator(".turn-user")).to_have_text(["before", "in the middle", "afterwards"])
        expect(page.locator(".turn-assistant").last).to_contain_text("Hello world")
        balancer.close()
    second.services.database.close()
