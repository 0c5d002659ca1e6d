"""Machine code on the disk when compilers are killed, and when two versions of xfit share a folder."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

#: Loads the engine's smallest piece; tells how many pieces were compiled for it by another process, and how many
#: functions by this one.
WAVE = """
from xfit.engine.block.precompile import prepare_engine
from xfit.engine.codegen.machine_code import made
from xfit.engine.codegen.subprocess_compile import started
prepare_engine("wave")
print(started(), made())
"""

KILLS = 20 if os.environ.get("XFIT_TEST_EVERY_KILL") else 3


def start(package: Path, folder: Path) -> subprocess.Popen[str]:
    """Load the piece in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-W", "always::RuntimeWarning", "-c", WAVE],
        env={**os.environ, "PYTHONPATH": str(package), "XFIT_CACHE_DIR": str(folder)},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_compiler_that_is_killed(seed: int, tmp_path: Path) -> None:
    """The process that waits for it compiles by itself, and says why; nothing half is left for the next."""
    process = start(ROOT, tmp_path)
    parent = psutil.Process(process.pid)
    while not (children := parent.children()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    time.sleep(random.Random(seed).uniform(0, 4))
    # It may have ended by itself.
    alive = [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    for child in alive:
        child.kill()
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    began, made = map(int, out.split())
    assert began == 1
    assert made in (0, 3)
    assert ("the engine is compiled in this process" in errors) == (made == 3)
    assert not list(tmp_path.rglob("*.tmp"))
    out, errors = start(ROOT, tmp_path).communicate()
    assert (out, errors) == ("0 0\n", "")


def test_two_versions_side_by_side(tmp_path: Path) -> None:
    """Each compiles once and finds its own again, whichever ran last."""
    folder, other = tmp_path / "cache", tmp_path / "other"
    folder.mkdir()
    shutil.copytree(ROOT / "xfit", other / "xfit", ignore=shutil.ignore_patterns("__pycache__"))
    source = other / "xfit" / "engine" / "waves" / "clocks.py"
    source.write_text(source.read_text() + "\n# Another version.\n")
    found = [start(package, folder).communicate()[0] for package in (ROOT, other, ROOT, other)]
    assert found == ["1 0\n", "1 0\n", "0 0\n", "0 0\n"]
    assert len(list(folder.rglob("engine-wave-*.code"))) == 2
