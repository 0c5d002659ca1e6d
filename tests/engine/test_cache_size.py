"""Kernels on the disk: those that were used longest ago go when all take too much."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from filelock import FileLock

from xfit.command import main
from xfit.engine.codegen import kernel_cache
from xfit.engine.codegen.cache_size import limit, prune, stored_kernels
from xfit.engine.codegen.code_store import cache_folder

SOURCE = """
def kernel(x_, ldx, p_, f_, jac_, n, scratch_):
    pass
lane_kernel = kernel
AMPLITUDES, SCRATCH, PROPORTIONAL = (), 0, -1
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XFIT_CACHE_DIR", str(tmp_path))
    return cache_folder()


def made(folder: Path, name: str, used: float) -> None:
    """A file as that of a kernel, 6,000 bytes."""
    (folder / f"{name}.code").write_bytes(bytes(6000))
    lock = folder / f"{name}.lock"
    lock.touch()
    os.utime(lock, (used, used))


def test_what_was_used_longest_ago_goes_first(folder) -> None:
    for number, used in enumerate((300.0, 100.0, 200.0, 400.0)):
        made(folder, f"k{number}", used)
    (folder / "notes.txt").write_text("mine")
    assert [each.name for each in stored_kernels(folder)] == ["k1", "k2", "k0", "k3"]
    size = stored_kernels(folder)[0].size
    assert [each.name for each in prune(folder, 2 * size)] == ["k1", "k2"]
    assert {path.name.partition(".")[0] for path in folder.rglob("k*.*")} == {"k0", "k3"}
    assert (folder / "notes.txt").read_text() == "mine"
    assert prune(folder, 2 * size) == []


def test_what_another_process_compiles_and_what_was_just_made_stay(folder) -> None:
    made(folder, "k0", 100.0)
    made(folder, "k1", 200.0)
    made(folder, "k2", 300.0)
    with FileLock(folder / "k0.lock"):
        assert [each.name for each in prune(folder, 0, keep="k2")] == ["k1"]
    assert [each.name for each in stored_kernels(folder)] == ["k0", "k2"]


def test_a_new_kernel_takes_the_place_of_the_oldest(folder, monkeypatch) -> None:
    monkeypatch.setattr(kernel_cache, "_loaded", {})
    for number in range(3):
        kernel_cache.load_kernel(f"formula {number}", lambda: SOURCE)
    kernels = stored_kernels(folder)
    assert len(kernels) == 3
    monkeypatch.setenv("XFIT_CACHE_LIMIT", str(3.1 * max(each.size for each in kernels) / 2**20))
    # Used again, by another process.
    monkeypatch.setattr(kernel_cache, "_loaded", {})
    oldest = kernels[0].name
    kernel_cache.load_kernel("formula 0", lambda: SOURCE)
    assert stored_kernels(folder)[-1].name == oldest
    kernel_cache.load_kernel("formula 3", lambda: SOURCE)
    left = {each.name for each in stored_kernels(folder)}
    assert len(left) == 3
    assert oldest in left
    assert kernels[1].name not in left


@pytest.mark.parametrize("text", ["0", "-1", "much", "nan"])
def test_a_limit_that_is_none(monkeypatch, text) -> None:
    monkeypatch.setenv("XFIT_CACHE_LIMIT", text)
    with pytest.raises(ValueError, match=f"XFIT_CACHE_LIMIT='{text}' must be a number of MiB above 0"):
        limit()


def test_the_command(folder) -> None:
    made(folder, "k0", 100.0)
    shown = CliRunner().invoke(main, ["cache"])
    assert shown.exit_code == 0
    assert f"{folder}: 1 kernels, 0.0 MiB of 256.0 MiB" in shown.output
    cleared = CliRunner().invoke(main, ["cache", "--clear"])
    assert "1 kernels removed" in cleared.output
    assert stored_kernels(folder) == []
