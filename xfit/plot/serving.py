"""Serving of pages: who may ask for them is told by the name of the host and by a token in
the address, as Jupyter has it.
"""

from __future__ import annotations

import atexit
import html
import secrets
import tempfile
import threading
import uuid
import webbrowser
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import panel as pn
from panel.io.server import get_server
from panel.io.threads import StoppableThread
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine
from tornado.ioloop import IOLoop
from tornado.routing import Matcher, Rule
from tornado.web import RequestHandler

#: Names of this machine by which a page may be asked for.
LOCAL = ("localhost", "127.0.0.1", "::1")

#: Addresses to listen on that are not names of hosts.
_EVERYWHERE = ("", "0.0.0.0", "::", "*")


class Guard(Matcher):
    """What refuses requests: pages, files and websockets alike.

    Parameters
    ----------
    hosts : iterable of str
        Names that the ``Host`` of a request may have, beside those of this machine; ports do not matter.
    token : str
        What a request must have in its address (``?token=``), as ``Authorization: token`` or in the cookie that the
        first page sets.

    Raises
    ------
    TypeError, ValueError
        For what is no name of a host, and for an empty token.
    """

    def __init__(self, hosts: Iterable[str], token: str) -> None:
        if isinstance(hosts, str):
            raise TypeError(f"hosts={hosts!r} must be a list of names, such as [{hosts!r}]")
        if not token.isascii() or not token.isalnum():
            raise ValueError("token must be letters and digits, one at least; leave it away for a random one")
        self.hosts = {*LOCAL, *map(_checked_host, hosts)}
        self.token, self._cookie = token, f"xfit-{uuid.uuid4().hex[:8]}"

    def watch(self, server: Any) -> None:
        """Put the guard before all that a server of bokeh serves."""
        application = server._tornado
        # Before all other rules: what bokeh and Panel serve, and will serve in later versions, does not matter then.
        router = application.default_router
        router.rules.insert(0, router.process_rule(Rule(self, _Refused)))
        # Older versions of tornado ask for the origin of websockets only there.
        application.websocket_origins.update(f"{_in_brackets(host)}:{server.port}" for host in self.hosts)

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Tell whether a request is to be refused; where it has the token in its address,
        set the cookie with the answer.
        """
        if _hostname(request.host) not in self.hosts:
            return {"target_kwargs": {"reason": "the page is not served under this name of a host"}}
        if self._is_token(request.query_arguments.get("token", [b""])[-1]):
            _on_answer(request, f"{self._cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/")
            return None
        cookie = request.cookies.get(self._cookie)
        header = request.headers.get("Authorization", "").removeprefix("token ")
        if self._is_token(header.encode()) or (cookie is not None and self._is_token(cookie.value.encode())):
            return None
        return {
            "target_kwargs": {"reason": "the address must have the token that was printed when the page was served"}
        }

    def _is_token(self, given: bytes) -> bool:
        return secrets.compare_digest(given, self.token.encode())


class _Refused(RequestHandler):
    """Answers with 403 and why."""

    def initialize(self, reason: str) -> None:
        self._why = reason

    def prepare(self) -> None:
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"403: {self._why}\n")


def serve(
    page: Callable[[], Any],
    *,
    show: bool = True,
    start: bool = True,
    threaded: bool = False,
    address: str = "localhost",
    hosts: Iterable[str] = (),
    token: str | None = None,
    **options: Any,
) -> Any:
    """Serve a page and print its address, which has a token.

    Parameters
    ----------
    page : callable
        Returns the page for one visitor.
    show : bool
        Whether to open it in a browser.
    start : bool
        Whether to begin to serve, and to go on until interrupted; otherwise the server is returned as it is.
    threaded : bool
        Whether to serve in another thread, which is returned; its ``stop()`` ends it.
    address : str
        What to listen on; by default only this machine can connect.
    hosts : iterable of str, optional
        Names of hosts under which the page may be asked for, beside localhost, 127.0.0.1, [::1] and `address`.
    token : str, optional
        What the address has; by default random.
    **options
        Of `panel.serve`, such as ``port``.

    Raises
    ------
    OSError
        If the port or the address can't be used.
    TypeError, ValueError
        For what is no name of a host, and for a token of other characters than letters and digits.
    """
    named = [] if address in _EVERYWHERE else [address]
    guard = Guard(hosts, secrets.token_hex(24) if token is None else token)
    guard.hosts.update(map(_checked_host, named))

    def begun(**more: Any) -> Any:
        # Panel's own word for where a page is does not know IPv6, and is not needed.
        defaults: dict[str, Any] = {"title": "xfit", "address": address, "location": False}
        server = get_server(page, **defaults | options | more, start=False, show=False)
        guard.watch(server)
        there = named[0] if named else "localhost"
        url = f"http://{_in_brackets(there)}:{server.port}{server.prefix}/?token={guard.token}"
        print(f"The page is served at {url}", flush=True)
        if show:
            server.io_loop.add_callback(open_in_browser, url)
        return server

    if threaded:
        return _in_thread(begun)
    server = begun()
    if start:
        server.start()
        server.io_loop.start()
    return server


def _in_thread(begun: Callable[..., Any]) -> StoppableThread:
    """Serve in a thread with a loop of its own; errors of the beginning are raised here."""
    loop, known, ready = IOLoop(make_current=False), {"server_id": uuid.uuid4().hex}, threading.Event()
    failed: list[BaseException] = []

    def run(server_id: str) -> Any:
        try:
            server = begun(loop=loop, server_id=server_id)
            server.start()
        except BaseException as error:
            failed.append(error)
            return None
        finally:
            ready.set()
        loop.start()
        return server

    thread = StoppableThread(target=run, io_loop=loop, owns_loop=True, kwargs=known)
    pn.state._threads[known["server_id"]] = thread
    thread.start()
    ready.wait()
    if failed:
        raise failed[0]
    return thread


def open_in_browser(url: str) -> None:
    """Open an address with a token by way of a file that only this user can read: other users see
    what a browser is called with.
    """
    with tempfile.NamedTemporaryFile("w", prefix="xfit-", suffix=".html", delete=False, encoding="utf-8") as file:
        file.write(
            f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={html.escape(url)}">'
        )
    path = Path(file.name)
    atexit.register(path.unlink, missing_ok=True)
    webbrowser.open(path.as_uri())


def _on_answer(request: HTTPServerRequest, cookie: str) -> None:
    """Set a cookie with the answer to a request, whoever gives it."""
    connection: Any = request.connection
    write = connection.write_headers

    def write_headers(start_line: ResponseStartLine, headers: HTTPHeaders, chunk: bytes | None = None) -> Any:
        headers.add("Set-Cookie", cookie)
        # The address has the token: no other page is told of it.
        headers["Referrer-Policy"] = "no-referrer"
        return write(start_line, headers, chunk)

    connection.write_headers = write_headers


def _hostname(host: str) -> str | None:
    """Name in the ``Host`` of a request, without port and in small letters; None for what is none."""
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname if not (parts.path or parts.query or parts.fragment or "@" in parts.netloc) else None
    except ValueError:
        return None


def _checked_host(host: Any) -> str:
    """A name of a host as requests have it."""
    name = _hostname(_in_brackets(host)) if isinstance(host, str) else None
    if not name or "*" in name:
        raise ValueError(f"hosts: {host!r} is no name of a host, such as 'lab.example.org'")
    return name


def _in_brackets(host: str) -> str:
    """A host as addresses have it: IPv6 in brackets."""
    return f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host
