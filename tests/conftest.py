"""Order of the tests: what takes longest begins first, or one process would be busy with it when all others are done. A
browser, an S3 server, and the engine without pixels side by side.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.pages import CHROMIUM
from xfit.engine.codegen.program import LoadedProgram
from xfit.engine.evaluation.state import Structure

#: Files that compile the engine several times over.
LONG = ("test_cache.py",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; otherwise the order stays."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser for all tests that need one."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real S3 server on loopback, with a bucket."""
    import s3fs

    log = tmp_path_factory.mktemp("s3") / "log"
    # A port that the system chooses; what the server says goes into a file, for nobody reads it while it runs.
    pytest.importorskip("moto.server")
    command = [sys.executable, "-c", "from moto.server import main; main(['-H', '127.0.0.1', '-p', '0'])"]
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as server:
        try:
            while "Running on" not in log.read_text():
                assert server.poll() is None, log.read_text()
                time.sleep(0.1)
            url = log.read_text().split("Running on ")[1].split()[0]
            options = {"key": "anyone", "secret": "anything", "endpoint_url": url}
            s3fs.S3FileSystem(**options).mkdir("bucket")
            yield options
        finally:
            server.terminate()


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Switch pixels side by side off."""
    original = LoadedProgram.structure_side_by_side

    def structure(self: LoadedProgram, active: Any, whole: Any) -> Structure:
        found = original(self, active, whole)
        return found._replace(address=found.address[:0])

    def switch() -> None:
        monkeypatch.setattr(LoadedProgram, "structure_side_by_side", structure)

    return switch
