"""Runs the code of a page of the documentation, and puts into the page what it prints and draws.

    python ci/page.py docs/tutorial.md

A block ```text below a block ```python is its output; figures that are saved under the names of the page's images go to docs/images. Tests run the same blocks and compare
their output with the page's.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: Code, and the output that stands right below it, if any does.
_BLOCK = re.compile(r"```python\n(.*?)```(?:\s*```text\n(.*?)```)?", re.DOTALL)

#: Tables fit a terminal; on a page they have this width.
COLUMNS = "100"


def run(text: str, name: str) -> Iterator[tuple[re.Match[str], str]]:
    """Run a page's blocks in order, in one namespace, in the current folder; yield each with what it has printed."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in _BLOCK.finditer(text):
        caught = io.StringIO()
        with contextlib.redirect_stdout(caught):
            exec(compile(block[1], name, "exec"), namespace)
        yield block, "".join(f"{line.rstrip()}\n" for line in caught.getvalue().splitlines())


def main() -> None:
    """Run the page in a folder that is thrown away, and rewrite it."""
    page = Path(sys.argv[1]).resolve()
    text = page.read_text(encoding="utf-8")
    os.environ["COLUMNS"] = COLUMNS
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for block, printed in reversed(list(run(text, page.name))):
            if block[2] is not None:
                text = text[: block.start(2)] + printed + text[block.end(2) :]
        for image in re.findall(r"\]\((images/[^)]+)\)", text):
            if Path(image).name in os.listdir():
                shutil.copy(Path(image).name, page.parent / image)
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
