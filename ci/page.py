"""Runs the code of a page of the documentation, and puts into the page what it prints and draws.

    python ci/page.py docs/tutorial.md

A block ```sh holds commands of xfit. A block ```text below a block of code is its output; figures that are saved under
the names of the page's images go to docs/images. Tests run the same blocks and compare their output with the page's.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: Code or commands, and the output that stands right below, if any does.
_BLOCK = re.compile(r"```(python|sh)\n(.*?)```(?:\s*```text\n(.*?)```)?", re.DOTALL)

#: Tables fit a terminal; on a page they have this width.
COLUMNS = "100"


def run(text: str, name: str) -> Iterator[tuple[re.Match[str], str]]:
    """Run a page's blocks in order, in one namespace, in the current folder; yield each with what it has printed."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in _BLOCK.finditer(text):
        caught = io.StringIO()
        with contextlib.redirect_stdout(caught):
            if block[1] == "python":
                exec(compile(block[2], name, "exec"), namespace)
            else:
                _command_lines(block[2])
        yield block, "".join(f"{line.rstrip()}\n" for line in caught.getvalue().splitlines())


def _command_lines(text: str) -> None:
    """Run commands of xfit, each in a line.

    Raises
    ------
    RuntimeError
        If one fails.
    """
    from click.testing import CliRunner

    from xfit.command import main as xfit

    for line in text.splitlines():
        done = CliRunner().invoke(xfit, shlex.split(line)[1:])
        if done.exit_code:
            raise RuntimeError(f"{line!r} ended with {done.exit_code}: {done.output}")
        print(done.output, end="")


def main() -> None:
    """Run the page in a folder that is thrown away, and rewrite it."""
    page = Path(sys.argv[1]).resolve()
    text = page.read_text(encoding="utf-8")
    os.environ["COLUMNS"] = COLUMNS
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for block, printed in reversed(list(run(text, page.name))):
            if block[3] is not None:
                text = text[: block.start(3)] + printed + text[block.end(3) :]
        for image in re.findall(r"\]\((images/[^)]+)\)", text):
            if Path(image).name in os.listdir():
                shutil.copy(Path(image).name, page.parent / image)
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
