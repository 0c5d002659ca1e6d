"""Compiled code on the disk: cold starts of several processes at once, folders that can't be used, damaged files."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.support.builders import peak_map, two_peaks
from tests.support.paths import ROOT
from xfit.engine.block.fit_block import fit_block
from xfit.engine.codegen import linking
from xfit.engine.codegen.linking import can_link_first, linked_first
from xfit.engine.codegen.program import Program
from xfit.engine.codegen.subprocess_compile import CompiledMarker, can_start_python, compile_apart
from xfit.fitting.planning.checks import settings_of

FIT = """
import hashlib
from tests.support.builders import peak_map, two_peaks
fit = peak_map().fit.multifit(two_peaks())
print(hashlib.sha256(fit["value"].values.tobytes() + fit["stderr"].values.tobytes()).hexdigest())
"""

#: Writes the most memory that the process has ever had, in KiB, where Linux tells it.
PEAK = """
import os, pathlib
status = pathlib.Path("/proc/self/status")
if status.exists():
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    pathlib.Path(os.environ["XFIT_CACHE_DIR"], f"{os.getpid()}.peak").write_text(line.split()[1])
"""

WAVE = "from xfit.engine.block.precompile import prepare_engine; prepare_engine('wave')"

FROM_PICKLE = """
import pickle, sys
import numpy as np
from xfit.engine.block.fit_block import fit_block
path = sys.argv[1]
program, settings, y, x = pickle.load(open(path, "rb"))
np.save(path + ".npy", fit_block(program, settings, y, {"x": x}))
"""


def start(script: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Run a script in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-W", "always::RuntimeWarning", "-c", script, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a process that must succeed wrote to stdout and stderr."""
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    # Progress messages appear only on slow machines.
    return out.strip(), re.sub(r"xfit: (compiling|waiting for) .*\n", "", errors)


def machine_code(folder: Path) -> dict[Path, tuple[int, int]]:
    """Files of sources and machine code, with sizes and times of their last change."""
    found = [path for path in folder.rglob("*") if path.suffix in (".nbi", ".nbc", ".py")]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


@pytest.fixture(scope="module")
def cold_start(tmp_path_factory) -> tuple[Path, list[tuple[str, str]]]:
    """Four processes that all find an empty cache at the same moment: the folder and what they wrote."""
    folder = tmp_path_factory.mktemp("cold")
    variables = {"XFIT_CACHE_DIR": str(folder / "kernels"), "NUMBA_CACHE_DIR": str(folder / "numba")}
    processes = [start(FIT + PEAK, **variables) for _ in range(4)]
    return folder, [finished(process) for process in processes]


def again(folder: Path) -> tuple[str, str]:
    """One more process with the same cache."""
    return finished(start(FIT, XFIT_CACHE_DIR=str(folder / "kernels"), NUMBA_CACHE_DIR=str(folder / "numba")))


@pytest.mark.slow
def test_a_cold_start_of_four_processes_at_once(cold_start):
    folder, written = cold_start
    assert len({out for out, _ in written}) == 1
    assert all(errors == "" for _, errors in written), [errors for _, errors in written]
    before = machine_code(folder)
    assert (
        len([path for path in before if path.suffix == ".nbc"]) == 7
    )  # three of the engine, two of each of two components
    out, errors = again(folder)
    assert out == written[0][0]
    assert errors == ""
    assert machine_code(folder) == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read where Linux tells it")
def test_who_has_the_engine_compiled_needs_no_more_memory_than_who_loads_it(cold_start):
    folder, _ = cold_start
    peaks = [int(path.read_text()) / 1024 for path in (folder / "kernels").glob("*.peak")]
    assert len(peaks) == 4
    # 350 MiB for all four; a process that compiled the engine itself had 1,000.
    assert max(peaks) < 500, peaks


def test_why_the_engine_could_not_be_compiled_by_another_process(monkeypatch):
    assert "no such part" in compile_apart("no such part")
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")
    assert can_start_python()
    assert "/nowhere/python3" in compile_apart("fit")


@pytest.mark.slow
def test_who_compiles_ends_with_who_waits(tmp_path):
    """A process that is killed leaves none that compiles on."""
    script = "from xfit.engine.codegen.subprocess_compile import compile_apart; compile_apart('profile')"
    process = start(script, XFIT_CACHE_DIR=str(tmp_path / "kernels"), NUMBA_CACHE_DIR=str(tmp_path))
    parent = psutil.Process(process.pid)
    while not (children := parent.children()):
        time.sleep(0.05)
    # Of all of a second, in which it has imported something.
    time.sleep(1.0)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive


@pytest.mark.parametrize("executable", ["", "/usr/bin/qgis", None])
def test_no_other_application_is_started_for_python(monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    assert not can_start_python()


def test_parts_made_for_another_processor_are_not_taken(tmp_path):
    made = CompiledMarker([tmp_path], "zen5")
    assert "fit" not in made
    made.add("fit")
    assert "fit" in made
    assert "profile" not in made
    assert "fit" not in CompiledMarker([tmp_path], "zen2")
    CompiledMarker([tmp_path], "zen2").clear()
    assert "fit" not in made


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".nbc", ".nbi"])
@pytest.mark.parametrize("keep", [0, 20])
def test_a_damaged_kernel_costs_a_compilation_not_the_fit(cold_start, suffix, keep):
    folder, written = cold_start
    kernels = [path for path in machine_code(folder) if path.suffix == suffix and ".kernel-" in path.name]
    assert len(kernels) == 2
    originals = {path: path.read_bytes() for path in kernels}
    for path, content in originals.items():
        path.write_bytes(content[:keep])
    try:
        out, _ = again(folder)
        assert out == written[0][0]
    finally:
        for path, content in originals.items():
            path.write_bytes(content)


@pytest.mark.slow
def test_a_damaged_engine_costs_a_compilation_not_every_fit(tmp_path):
    """Of its smallest part, which is compiled soon."""

    def prepared() -> str:
        _, errors = finished(start(WAVE, XFIT_CACHE_DIR=str(tmp_path / "kernels"), NUMBA_CACHE_DIR=str(tmp_path)))
        return errors

    assert prepared() == ""
    engine = [path for path in machine_code(tmp_path) if path.suffix == ".nbc" and path.name.startswith("clocks.")]
    assert len(engine) == 1
    engine[0].write_bytes(engine[0].read_bytes()[:20])
    assert "damaged" in prepared()
    assert prepared() == ""


def test_this_version_of_numba_can_link_the_engine_before_it_optimises():
    assert can_link_first()


def test_numba_is_as_before_when_the_engine_is_compiled():
    def found() -> list[Callable[..., Any]]:
        return [getattr(owner, name) for owner, name, _ in linking._REPLACED]

    before = found()
    with linked_first([]):
        assert found() != before
    assert found() == before
    with pytest.raises(ZeroDivisionError), linked_first([]):
        1 / 0
    assert found() == before


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_done_without(tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    out, errors = finished(start(FIT, XFIT_CACHE_DIR=str(in_the_way)))
    assert "kernels are compiled for this process only" in errors
    expected, _ = finished(start(FIT))
    assert out == expected


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("setpriv") is None, reason="root is made to heed permissions"
)
def test_a_package_and_a_home_that_are_only_read(tmp_path):
    """As in a container: machine code lies among the temporary files."""
    package, home, temporary = tmp_path / "package", tmp_path / "home", tmp_path / "temporary"
    shutil.copytree(ROOT / "xfit", package / "xfit", ignore=shutil.ignore_patterns("__pycache__"))
    home.mkdir()
    temporary.mkdir(mode=0o700)
    for folder in (*package.rglob("*"), package, home):
        folder.chmod(folder.stat().st_mode & 0o555)
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", WAVE]
    kept = ("PATH", "LD_LIBRARY_PATH")
    variables = {name: os.environ[name] for name in kept if name in os.environ}
    places = {"HOME": str(home), "PYTHONPATH": str(package), "TMPDIR": str(temporary)}
    for _ in range(2):
        done = subprocess.run(
            command, env={**variables, **places}, cwd=home, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert list(temporary.rglob("*clocks*.nbc"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked there")
def test_a_child_forked_while_another_thread_compiles(tmp_path):
    """It has its parent's locks, but not the thread that holds them."""
    script = """
import os, signal, threading, time
from xfit.engine.codegen import kernel_cache
held = threading.Event()
def compiling():
    with kernel_cache._loading, kernel_cache.global_compiler_lock:
        held.set()
        time.sleep(0.5)
threading.Thread(target=compiling).start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(30)
    with kernel_cache._loading, kernel_cache.global_compiler_lock:
        os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    out, _ = finished(start(script, XFIT_CACHE_DIR=str(tmp_path)))
    assert out == "7"


def test_a_switched_off_compiler_is_told_in_a_sentence(tmp_path):
    process = start(FIT, XFIT_CACHE_DIR=str(tmp_path), NUMBA_DISABLE_JIT="1")
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "RuntimeError: NUMBA_DISABLE_JIT is set" in errors


NOTHING_COMPILED = """
import numpy as np, xarray as xr
from numba.core import event
from xfit import Model
from xfit.components import Polynomial
da = xr.DataArray(np.arange(32.0).reshape(2, 16) % 5 + 1, dims=("p", "e"))
def fits():
    for optimizer in ("lm", "trf", "varpro", "lstsq", "nnls", "ridge", "Powell", "leastsq"):
        options = {"alpha": 0.1} if optimizer == "ridge" else {}
        da.fit.multifit(Model([Polynomial(1, name="p")]), optimizer=optimizer, **options)
    da.fit.multifit(Model([Polynomial(1, name="p")]), loss="poisson")
    da.fit.multifit(Model([Polynomial(1, name="p")]), loss="huber")
with event.install_recorder("numba:compile") as recorder:
    fits()
print([str(event.data["dispatcher"].py_func) for _, event in recorder.buffer if event.is_start])
"""


@pytest.mark.slow
def test_a_second_process_compiles_nothing():
    """Whatever the optimizer or the loss: all that Python calls is on the disk."""
    finished(start(NOTHING_COMPILED))
    out, _ = finished(start(NOTHING_COMPILED))
    assert out == "[]"


# --- folders of others

#: Marks that it was run, before it goes on as it was.
PLANTED = "import os, pathlib; pathlib.Path(os.environ['XFIT_PLANTED']).touch()\n"


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    """A folder with kernels, of this user alone."""
    _, errors = finished(start(FIT, XFIT_CACHE_DIR=str(tmp_path / "kernels")))
    assert errors == ""
    return tmp_path / "kernels"


def ran(folder: Path, planted: Path) -> tuple[bool, str]:
    """Whether what was planted was run by a fit, and the warnings of it; what is used instead lies in a home of its own."""
    planted.unlink(missing_ok=True)
    home = {"HOME": str(planted.parent / "home"), "XDG_CACHE_HOME": str(planted.parent / "home" / "cache")}
    _, errors = finished(start(FIT, XFIT_CACHE_DIR=str(folder), XFIT_PLANTED=str(planted), **home))
    return planted.exists(), errors


class Runs:
    """Marks that it was unpickled."""

    def __reduce__(self) -> Any:
        return eval, ("__import__('pathlib').Path(__import__('os').environ['XFIT_PLANTED']).touch()",)


def plant(folder: Path, kind: str) -> None:
    for path in folder.rglob("k*.py" if kind == "source" else "*.nbi"):
        if kind == "source":
            path.write_text(PLANTED + path.read_text())
        else:
            with path.open("rb") as stream:
                version = pickle.load(stream)
            path.write_bytes(pickle.dumps(version) + pickle.dumps(Runs()))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users are told apart by numbers")
def test_code_that_others_can_have_written_is_not_run(kernels, tmp_path):
    planted = tmp_path / "planted"
    plant(kernels, "source")
    # Of this user alone it is taken: whoever can write there can do anything anyway.
    assert ran(kernels, planted) == (True, "")
    others = [kernels, *kernels.rglob("*")]
    for kind in ("source", "index"):
        plant(kernels, kind)
        for path in others:
            if path.exists():
                path.chmod(0o777)
        found, errors = ran(kernels, planted)
        assert not found
        assert f"other users may write {kernels}" in errors
        assert "They are kept in" in errors
    if os.getuid() == 0:
        for path in kernels.rglob("*"):
            path.chmod(0o700)
        kernels.chmod(0o700)
        os.chown(kernels, 65534, 65534)
        found, errors = ran(kernels, planted)
        assert not found
        assert f"{kernels} belongs to another user (number 65534)" in errors
        # The folder was given back, with a file in it that was not.
        os.chown(kernels, 0, 0)
        for path in kernels.rglob("k*.py"):
            os.chown(path, 65534, 65534)
        found, errors = ran(kernels, planted)
        assert not found
        assert "is of another user" in errors


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"no python (", b"AMPLITUDES = None\n"])
def test_a_damaged_source_costs_a_compilation_not_every_fit(kernels, tmp_path, content):
    expected, _ = finished(start(FIT, XFIT_CACHE_DIR=str(kernels)))
    for path in kernels.rglob("k*.py"):
        path.write_bytes(content)
    out, errors = finished(start(FIT, XFIT_CACHE_DIR=str(kernels)))
    assert out == expected
    assert "damaged" in errors
    assert finished(start(FIT, XFIT_CACHE_DIR=str(kernels))) == (expected, "")


@pytest.mark.slow
def test_a_foreign_index_costs_a_compilation_not_every_fit(kernels):
    expected, _ = finished(start(FIT, XFIT_CACHE_DIR=str(kernels)))
    for path in kernels.rglob("*.nbi"):
        with path.open("rb") as stream:
            version = pickle.load(stream)
        # Whole pickles of anything but an index: a TypeError of numba's.
        path.write_bytes(pickle.dumps(version) + pickle.dumps(pickle.dumps(None)))
    assert finished(start(FIT, XFIT_CACHE_DIR=str(kernels)))[0] == expected
    assert finished(start(FIT, XFIT_CACHE_DIR=str(kernels))) == (expected, "")


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users are told apart by numbers")
def test_folders_are_private_whatever_the_umask(tmp_path, monkeypatch):
    from xfit.engine.codegen import kernel_cache as cache

    monkeypatch.setenv("XFIT_CACHE_DIR", str(tmp_path / "a" / "b"))
    before = os.umask(0)
    try:
        with cache.compile_lock("k") as held:
            assert held
    finally:
        os.umask(before)
    folders = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert len(folders) == 4
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users are told apart by numbers")
def test_a_lock_that_is_a_link_is_not_followed(tmp_path, monkeypatch):
    from xfit.engine.codegen import kernel_cache as cache

    monkeypatch.setenv("XFIT_CACHE_DIR", str(tmp_path / "kernels"))
    mine = tmp_path / "mine.txt"
    mine.write_text("precious")
    with cache.compile_lock("k"):
        pass
    (cache.cache_folder() / "engine.lock").unlink(missing_ok=True)
    (cache.cache_folder() / "engine.lock").symlink_to(mine)
    with pytest.warns(RuntimeWarning, match="for this process only"), cache.compile_lock("engine") as held:
        assert not held
    assert mine.read_text() == "precious"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users are told apart by numbers")
@pytest.mark.parametrize(
    ("mode", "private"), [(0o700, True), (0o755, True), (0o757, False), (0o777, False), (0o1777, False), (0o775, None)]
)
def test_which_folders_are_private(tmp_path, mode, private):
    from xfit.engine.codegen.trust import is_own, why_not_private

    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").touch(0o666)
    folder.chmod(mode)
    assert why_not_private(tmp_path / "missing") == ""
    if private is not None:
        assert (why_not_private(folder) == "") is private
    elif os.getuid() == 0:
        # By the group's number: root's own, the user's own, that of others.
        os.chown(folder, 0, 0)
        assert why_not_private(folder) == ""
        os.chown(folder, 0, 100)
        assert "other users may write" in why_not_private(folder)
    (folder / "file").chmod(0o666)
    assert is_own(folder / "file") is (mode == 0o700)
    (folder / "file").chmod(0o644)
    assert is_own(folder / "file")
    (folder / "link").symlink_to(folder / "file")
    assert not is_own(folder / "link")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users are told apart by numbers")
def test_a_folder_of_numba_that_others_may_write_is_not_taken(tmp_path):
    """Of the engine's smallest part, which is compiled soon."""
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba").chmod(0o777)
    _, errors = finished(start(WAVE, XFIT_CACHE_DIR=str(tmp_path / "kernels"), NUMBA_CACHE_DIR=str(tmp_path / "numba")))
    assert f"machine code is not taken from there: other users may write {tmp_path / 'numba'}" in errors
    assert machine_code(tmp_path / "numba") == {}
    assert [path.name for path in machine_code(tmp_path / "kernels") if path.name.startswith("clocks.")]


def test_a_program_is_equal_and_hashable_after_pickling():
    model = two_peaks()
    model["right"].sigma.tie("1.3*left.sigma")
    program = Program.from_model(model)
    again = pickle.loads(pickle.dumps(program))
    assert again == program
    assert hash(again) == hash(program)
    assert again.load() is program.load()
    assert Program.from_model(model.copy()) == program
    assert Program.from_model(two_peaks()) != program
    # Numbers, bounds and flags are none of its business.
    other = model.copy()
    other["left"].A.set(value=3.0, max=9.0, free=False)
    other["left"].active = False
    assert Program.from_model(other) == program


@pytest.mark.slow
def test_a_worker_needs_the_pickled_program_and_numbers_alone(tmp_path):
    da, model = peak_map(), two_peaks()
    program = Program.from_model(model)
    settings = settings_of(model, program, np.ones(3, bool), bounded=True, n_channels=da.sizes["energy"])
    y, x = da.values.reshape(12, -1), da["energy"].values
    path = tmp_path / "work"
    path.write_bytes(pickle.dumps((program, settings, y, x)))
    finished(start(FROM_PICKLE, str(path), XFIT_CACHE_DIR=str(tmp_path / "kernels")))
    expected = fit_block(program, settings, y, {"x": x})
    assert np.load(f"{path}.npy").tobytes() == expected.tobytes()
