"""Worker processes that the command starts: only the run itself can talk to them."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from typing import Any

import psutil
import pytest
from distributed import Client
from distributed.security import Security

from xfit.command.running import client_of


def listening() -> set[tuple[str, int]]:
    """Addresses that this process and those it started listen on."""
    mine = psutil.Process(os.getpid())
    found = [
        each for process in (mine, *mine.children(recursive=True)) for each in process.net_connections(kind="inet")
    ]
    return {(each.laddr.ip, each.laddr.port) for each in found if each.status == psutil.CONN_LISTEN}


@pytest.mark.slow
def test_nobody_without_credentials_can_connect():
    before = listening()
    with client_of(None, 1) as client:
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        assert client.submit(int, 3).result() == 3
        plain = address.replace("tls", "tcp")
        # Without a certificate, and with one that somebody else has signed.
        attempts: list[tuple[str, Any]] = [(plain, None), (address, Security.temporary())]
        for where, security in attempts:
            with pytest.raises((OSError, ValueError)):
                Client(where, security=security, timeout=2, set_as_default=False)
        opened = listening() - before
        # The scheduler, the nanny and the worker at least.
        assert len(opened) >= 3
        assert {ip for ip, _ in opened} == {"127.0.0.1"}
        assert {answer(port) for _, port in opened} <= {"refused", "404"}


def answer(port: int) -> str:
    """What a port says to a browser, and to a client of TLS without a certificate."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/info/main/workers.html")
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException):
        pass
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as raw, context.wrap_socket(raw) as wrapped:
            # With TLS 1.3 the refusal comes with the first bytes that are read.
            return repr(wrapped.recv(1) or "refused").strip("'")
    except OSError:
        return "refused"
