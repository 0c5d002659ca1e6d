"""Notebooks in JupyterLab: its server on this machine, a notebook in a browser, its cells run one by one."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.support.pages import Page, free_port
from tests.support.paths import ROOT
from xfit.engine.codegen.code_store import cache_folder

jupyterlab = pytest.mark.skipif(
    importlib.util.find_spec("jupyterlab") is None, reason="no JupyterLab: pip install jupyterlab"
)

#: JupyterLab asks whether it may fetch news, in a box above everything else.
_SETTINGS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}


class Lab:
    """A server of JupyterLab.

    Parameters
    ----------
    folder : Path
        Where it keeps everything; notebooks are in its ``work``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._port, self._token = folder, free_port(), secrets.token_hex()
        self.work = folder / "work"
        self.work.mkdir()
        (folder / "config" / "labconfig").mkdir(parents=True)
        (folder / "config" / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(_SETTINGS))

    @contextmanager
    def running(self) -> Iterator[Lab]:
        """Serve until the block is left; kernels end with the server."""
        folders = {
            "HOME": ".",
            "IPYTHONDIR": "ipython",
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
        }
        env = {**os.environ, **{name: str(self._folder / each) for name, each in folders.items()}}
        # Kernels import xfit and its tests from here, and find what is compiled already.
        env |= {"PYTHONPATH": str(ROOT), "XFIT_CACHE_DIR": str(cache_folder().parent), "JUPYTER_TOKEN": self._token}
        words = [
            sys.executable,
            "-m",
            "jupyterlab",
            "--no-browser",
            "--allow-root",
            "--ip=127.0.0.1",
            f"--port={self._port}",
            "--ServerApp.port_retries=0",
            "--LabApp.extension_manager=readonly",
        ]
        log = self._folder / "log"
        with log.open("w") as out, subprocess.Popen(words, cwd=self.work, env=env, stdout=out, stderr=out) as server:
            try:
                while "is running at" not in log.read_text():
                    assert server.poll() is None, log.read_text()
                    time.sleep(0.1)
                yield self
            finally:
                server.terminate()

    @contextmanager
    def notebook(self, chromium: Any, name: str, cells: Sequence[str]) -> Iterator[Notebook]:
        """A new notebook in the browser, with cells that have not been run."""
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        book = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
        book.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
        nbformat.write(book, self.work / f"{name}.ipynb")
        page = chromium.new_page(viewport={"width": 1440, "height": 1250})
        shown = Notebook(page, f"http://127.0.0.1:{self._port}")
        page.goto(f"{shown.address}/lab/workspaces/{name}/tree/{name}.ipynb?token={self._token}")
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
        try:
            yield shown
        finally:
            page.close()


class Notebook(Page):
    """A notebook in a browser.

    Parameters
    ----------
    page : playwright page
        It.
    address : str
        Of its server.
    """

    def __init__(self, page: Any, address: str) -> None:
        super().__init__(page, None)
        self.address = address
        self._asked: list[str] = []
        page.on("request", lambda request: self._asked.append(request.url))

    @property
    def afar(self) -> list[str]:
        """What it has asked of others than its server."""
        return [url for url in self._asked if not url.startswith((self.address, "data:", "blob:"))]

    def cell(self, number: int) -> Any:
        """A cell by its number, from 0."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def run(self, number: int) -> str:
        """Run a cell, wait for its end, and return what it has printed."""
        cell = self.cell(number)
        prompt = cell.locator(".jp-InputPrompt")
        before = re.findall(r"\d+", prompt.inner_text())

        def ended() -> bool:
            words = prompt.inner_text()
            now = re.findall(r"\d+", words)
            if "*" not in words and now == before:
                # A machine that is busy is asked which kernel it should be, or whether to wait, in a box above
                # everything else.
                for asked in self.page.locator(".jp-Dialog .jp-mod-accept").all():
                    asked.click()
                # Again, if need be: what is run while the kernel is being connected to is forgotten.
                cell.locator(".cm-content").click()
                self.page.keyboard.press("Control+Enter")
                self.page.wait_for_timeout(500)
            return now not in ([], before)

        self.until(ended, seconds=60)
        return "".join(cell.locator(".jp-OutputArea-output pre").all_inner_texts())

    def show(self, number: int) -> None:
        """Scroll until a cell's output begins at the top of the notebook."""
        self.cell(number).locator(".jp-OutputArea").evaluate("(node) => node.scrollIntoView()")
