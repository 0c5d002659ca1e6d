"""Pages answer only those who have the token, under the names of hosts that were asked for."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import stat
import webbrowser
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import panel as pn
import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from tests.support.builders import drifting_model, drifting_peak, fit_with_failures
from tests.support.pages import TOKEN, free_port
from xfit.plot.serving import Guard, open_in_browser, serve


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a page that is served, also under the name lab.example.org."""
    port = free_port()
    thread = serve(
        lambda: pn.pane.Str("secret words"),
        port=port,
        show=False,
        threaded=True,
        hosts=["lab.example.org"],
        token=TOKEN,
    )
    yield port
    thread.stop()


def apart(act: Callable[[], Any]) -> Any:
    """Do something in a thread of its own: where a browser was opened before, this one has a loop that runs."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(act).result()


def get(port: int, path: str = "/", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={"Host": f"localhost:{port}", **headers})
    return connection.getresponse()


def websocket(port: int, page: bytes, query: str = "", **headers: str) -> str:
    """What comes of a websocket: the document, or the code it is refused with."""
    found = re.search(rb'"token":"([^"]+)"', page)
    assert found is not None
    session = found[1].decode()

    async def ask() -> str:
        url = f"ws://127.0.0.1:{port}/ws{query}"
        try:
            socket = await websocket_connect(
                HTTPRequest(url, headers={"Host": f"localhost:{port}", **headers}), subprotocols=["bokeh", session]
            )
        except HTTPClientError as error:
            return str(error.code)
        [await socket.read_message() for _ in range(3)]
        for part in (json.dumps({"msgid": "1", "msgtype": "PULL-DOC-REQ"}), "{}", "{}"):
            await socket.write_message(part)
        found = "".join([str(await socket.read_message()) for _ in range(3)])
        socket.close()
        return found

    return apart(lambda: asyncio.run(ask()))


HOSTS = ["localhost", "LOCALHOST:1234", "127.0.0.1:{port}", "[::1]:{port}", "lab.example.org", "lab.example.org:443"]
OTHERS = [
    "evil.example",
    "evil.example:{port}",
    "localhost.evil.example",
    "evil-localhost",
    "127.0.0.2",
    "0.0.0.0",
    "[::2]",
    "localhost@evil.example",
    "evil.example/localhost",
    "",
    "::1",
    "*",
]


@pytest.mark.parametrize("host", HOSTS)
def test_hosts_that_were_named(port, host):
    assert get(port, f"/?token={TOKEN}", Host=host.format(port=port)).status == 200


@pytest.mark.parametrize("host", OTHERS)
def test_other_hosts_are_refused_with_the_token_too(port, host):
    for path in (f"/?token={TOKEN}", f"/static/js/bokeh.min.js?token={TOKEN}", f"/nothing?token={TOKEN}"):
        answer = get(port, path, Host=host.format(port=port))
        # Tornado itself refuses some of them, as bad requests.
        assert answer.status in (400, 403)
        assert b"secret" not in answer.read()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/?token=",
        "/?token=wrong",
        f"/?token={TOKEN}x",
        f"/?token={TOKEN}&token=",
        "/?token=%ff",
        "/autoload.js",
        "/static/js/bokeh.min.js",
        "/metadata",
        "/ws",
        "/favicon.ico",
        "/nothing",
    ],
)
def test_nothing_is_served_without_the_token(port, path):
    answer = get(port, path)
    assert answer.status == 403
    assert b"the address must have the token" in answer.read()
    assert answer.getheader("Set-Cookie") is None


def test_the_first_page_sets_a_cookie_for_the_others(port):
    answer = get(port, f"/?token={TOKEN}")
    cookie, *options = answer.getheader("Set-Cookie", "").split("; ")
    # No script reads it, and no page of another site makes the browser send it.
    assert options[:2] == ["HttpOnly", "SameSite=Strict"]
    assert answer.getheader("Referrer-Policy") == "no-referrer"
    for path in ("/", "/static/js/bokeh.min.js"):
        assert get(port, path, Cookie=cookie).status == 200
    assert get(port, "/", Cookie=cookie[:-1]).status == 403
    assert get(port, "/", Authorization=f"token {TOKEN}").status == 200
    assert get(port, "/", Authorization="token é").status == 403
    assert get(port, "/", Cookie=cookie, Host="evil.example").status == 403


def test_websockets(port):
    answer = get(port, f"/?token={TOKEN}")
    cookie, page = answer.getheader("Set-Cookie", "").partition(";")[0], answer.read()
    assert "secret words" in websocket(port, page, Cookie=cookie, Origin=f"http://localhost:{port}")
    assert "secret words" in websocket(
        port, page, f"?token={TOKEN}", Host=f"lab.example.org:{port}", Origin=f"http://lab.example.org:{port}"
    )
    assert websocket(port, page) == "403"
    assert websocket(port, page, "?token=wrong", Origin=f"http://localhost:{port}") == "403"
    # A name that was pointed at this machine, and a page of another site or of another server of this machine.
    evil = f"http://evil.example:{port}"
    assert websocket(port, page, Cookie=cookie, Host=f"evil.example:{port}", Origin=evil) == "403"
    assert websocket(port, page, Cookie=cookie, Origin=evil) == "403"
    assert websocket(port, page, Cookie=cookie, Origin=f"http://localhost:{port + 1}") == "403"


def test_all_that_serves_is_guarded(capsys):
    da, fit = fit_with_failures((3, 4), slice(0, 0), slice(0, 0))
    spectra = drifting_peak((3, 4), ("y", "x"))
    for shown in (fit.fit.dashboard(da), spectra.fit.explore(drifting_model())):
        apart(partial(check_served, shown, capsys))


def check_served(shown: Any, capsys: Any) -> None:
    """Serve something, ask it by several addresses, and serve it once more."""
    server = shown.show(show=False, start=False)
    words = r"The page is served at (http://localhost:\d+/\?token=[0-9a-f]{48})\n"
    found = re.fullmatch(words, capsys.readouterr().out)
    assert found is not None
    url = found[1]
    tokens = {urlsplit(url).query}
    # Only this machine can connect.
    addresses = {socket.getsockname()[0] for socket in server._http._sockets.values()}
    assert addresses <= {"127.0.0.1", "::1"}
    server.start()

    async def ask(port: int = server.port, path: str = f"/?{urlsplit(url).query}") -> list[int]:
        asked = [(path, "localhost"), (path, "evil.example"), ("/", "localhost")]
        return [(await asyncio.to_thread(get, port, where, Host=host)).status for where, host in asked]

    assert server.io_loop.run_sync(ask) == [200, 403, 403]
    server.stop()
    other = shown.show(show=False, start=False)
    tokens.add(urlsplit(capsys.readouterr().out.split()[-1]).query)
    assert len(tokens) == 2
    other.stop()


def test_the_browser_is_not_called_with_the_token(monkeypatch):
    """Other users of the machine see what programs are called with."""
    asked: list[str] = []
    monkeypatch.setattr(webbrowser, "open", asked.append)
    url = f"http://localhost:1/?token={TOKEN}"
    open_in_browser(url)
    (found,) = asked
    path = Path(unquote(urlsplit(found).path))
    assert found.startswith("file://")
    assert TOKEN not in found
    assert f"url={url}" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.unlink()


def test_what_is_refused(port):
    with pytest.raises(TypeError, match=r"hosts='lab' must be a list of names, such as \['lab'\]"):
        Guard("lab", TOKEN)
    for host in ("*", "", "a/b", "http://lab", 3, "me@lab"):
        with pytest.raises(ValueError, match="is no name of a host"):
            Guard([host], TOKEN)  # type: ignore[list-item]
    for token in ("", "a b", "a&b", "é"):
        with pytest.raises(ValueError, match="token must be letters and digits"):
            serve(lambda: None, show=False, start=False, token=token)
    with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
        serve(lambda: None, port=port, show=False, threaded=True)
