"""Compiled code on the disk: cold starts of several processes at once, folders that can't be used, damaged files."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from numba.core.codegen import CPUCodeLibrary
from numba.core.cpu import CPUContext
from numba.core.lowering import BaseLower

from tests.support.builders import peak_map, two_peaks
from tests.support.paths import ROOT
from xfit.engine.block.fit_block import fit_block
from xfit.engine.block.precompile import prepare_engine
from xfit.engine.codegen.code_file import packed, unpacked
from xfit.engine.codegen.code_store import cache_folder, machine_kind
from xfit.engine.codegen.machine_code import linked_first
from xfit.engine.codegen.program import Program
from xfit.engine.codegen.subprocess_compile import CompilationError, can_start_python, compile_apart
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
from xfit.engine.block.precompile import prepare_engine
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
    """Files of machine code, with sizes and times of their last change."""
    found = list(folder.rglob("*.code"))
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


@pytest.fixture(scope="module")
def cold_start(tmp_path_factory) -> tuple[Path, list[tuple[str, str]]]:
    """Eight processes that all find an empty cache at the same moment: the folder and what they wrote."""
    folder = tmp_path_factory.mktemp("cold")
    processes = [start(FIT + PEAK, XFIT_CACHE_DIR=str(folder)) for _ in range(8)]
    return folder, [finished(process) for process in processes]


def again(folder: Path) -> tuple[str, str]:
    """One more process with the same cache."""
    return finished(start(FIT, XFIT_CACHE_DIR=str(folder)))


@pytest.mark.slow
def test_a_cold_start_of_eight_processes_at_once(cold_start):
    folder, written = cold_start
    assert len({out for out, _ in written}) == 1
    assert all(errors == "" for _, errors in written), [errors for _, errors in written]
    before = machine_code(folder)
    # One compilation of each piece: three of the engine, and two components.
    assert sorted(path.name.rpartition("-")[0] for path in before) == [
        "engine-lanes",
        "engine-lanes-gram",
        "engine-rows",
        "kernel",
        "kernel",
    ]
    out, errors = again(folder)
    assert out == written[0][0]
    assert errors == ""
    assert machine_code(folder) == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read where Linux tells it")
def test_who_has_the_engine_compiled_needs_no_more_memory_than_who_loads_it(cold_start):
    folder, _ = cold_start
    peaks = [int(path.read_text()) / 1024 for path in folder.glob("*.peak")]
    assert len(peaks) == 8
    # 300 MiB for all of them; a process that compiled the engine itself had 500.
    assert max(peaks) < 400, peaks


def test_why_the_engine_could_not_be_compiled_by_another_process(monkeypatch):
    with pytest.raises(CompilationError, match="no such part"):
        compile_apart(["no such part"])
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")
    assert can_start_python()
    with pytest.raises(CompilationError, match="/nowhere/python3"):
        compile_apart(["wave"])


@pytest.mark.slow
def test_who_compiles_ends_with_who_waits(tmp_path):
    """A process that is killed leaves none that compiles on."""
    script = "from xfit.engine.codegen.subprocess_compile import compile_apart; compile_apart(['profile'])"
    process = start(script, XFIT_CACHE_DIR=str(tmp_path))
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


@pytest.mark.slow
def test_machine_code_of_other_processors_and_of_less_wide_vectors_is_not_taken(tmp_path):
    script = "from xfit.engine.codegen.code_store import machine_kind; print(machine_kind())"
    others: tuple[dict[str, str], ...] = (
        {},
        {"XFIT_LANES": "2"},
        {"NUMBA_CPU_NAME": "haswell"},
        {"NUMBA_CPU_FEATURES": "+avx2,+fma"},
    )
    processes = [start(script, XFIT_CACHE_DIR=str(tmp_path), **variables) for variables in others]
    kinds = [finished(process)[0] for process in processes]
    assert len(set(kinds)) == 4
    assert kinds[0] == machine_kind()


def test_damaged_machine_code_is_known_by_its_hash():
    content = packed({"unit": "wave"}, b"code\nmore")
    assert unpacked(content) == ({"unit": "wave"}, b"code\nmore")
    for damaged in (b"", content[:-1], content[:60], content + b"x", content.replace(b"wave", b"wove"), b"x" + content):
        with pytest.raises(ValueError, match="damaged"):
            unpacked(damaged)


@pytest.mark.slow
@pytest.mark.parametrize("keep", [0, 2000])
def test_damaged_machine_code_costs_a_compilation_not_the_fit(cold_start, keep):
    folder, written = cold_start
    files = list((folder / "code").glob("kernel-*.code"))
    assert len(files) == 2
    for path in files:
        path.write_bytes(path.read_bytes()[:keep])
    out, errors = again(folder)
    assert out == written[0][0]
    assert errors.count("it is damaged; compiling anew") == len(files)
    assert again(folder) == (out, "")


@pytest.mark.slow
def test_a_damaged_piece_of_the_engine_is_compiled_again(tmp_path):
    places = {"XFIT_CACHE_DIR": str(tmp_path)}
    assert finished(start(WAVE, **places)) == ("", "")
    path = next(tmp_path.rglob("engine-wave-*.code"))
    path.write_bytes(path.read_bytes()[:2000])
    assert "it is damaged; compiling anew" in finished(start(WAVE, **places))[1]
    assert finished(start(WAVE, **places)) == ("", "")


@pytest.mark.slow
def test_a_full_disk_costs_a_compilation_not_the_fit(tmp_path):
    """No file of this process can be written."""
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    script = f"import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n{limited}{WAVE}; print('ready')"
    out, errors = finished(start(script, XFIT_CACHE_DIR=str(tmp_path)))
    assert out == "ready"
    assert "machine code can't be kept in" in errors
    assert not [*tmp_path.rglob("*.code"), *tmp_path.rglob("*.tmp")]


def test_numba_is_as_before_when_the_engine_is_compiled():
    def found() -> list[object]:
        owners = ((BaseLower, "create_cpython_wrapper"), (CPUContext, "get_executable"), (CPUCodeLibrary, "finalize"))
        return [getattr(*owner) for owner in owners]

    before = found()
    with linked_first():
        assert all(now is not then for now, then in zip(found(), before, strict=True))
    assert found() == before
    with pytest.raises(ZeroDivisionError), linked_first():
        1 / 0
    assert found() == before


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_done_without(tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    places = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    _, errors = finished(start(WAVE, XFIT_CACHE_DIR=str(in_the_way), **places))
    assert "machine code is not kept in the usual place" in errors
    assert list((tmp_path / "cache").rglob("engine-wave-*.code"))


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
    assert list(temporary.rglob("engine-wave-*.code"))


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


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users are told apart by numbers")
def test_code_that_others_can_have_written_is_not_loaded(tmp_path):
    """Of the engine's smallest part: where its code lies is not even read; it is compiled into another folder."""
    folder, home = tmp_path / "shared", tmp_path / "home"
    places = {"XFIT_CACHE_DIR": str(folder), "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    assert finished(start(WAVE, **places)) == ("", "")
    others = [folder, folder / "code"]
    for path in others:
        path.chmod(0o777)
        _, errors = finished(start(WAVE, **places))
        assert f"other users may write {path}" in errors
        assert "It is kept in" in errors
        path.chmod(0o700)
    if os.getuid() == 0:
        os.chown(folder / "code", 65534, 65534)
        _, errors = finished(start(WAVE, **places))
        assert f"{folder / 'code'} belongs to another user (number 65534)" in errors
        # The folder was given back, with a file in it that was not.
        os.chown(folder / "code", 0, 0)
        for path in folder.rglob("*.code"):
            os.chown(path, 65534, 65534)
        _, errors = finished(start(WAVE, **places))
        assert "it belongs to another user, or others may write it; compiling anew" in errors
        assert finished(start(WAVE, **places)) == ("", "")


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users are told apart by numbers")
def test_folders_are_private_whatever_the_umask(tmp_path, monkeypatch):
    from xfit.engine.codegen import code_store as cache

    monkeypatch.setenv("XFIT_CACHE_DIR", str(tmp_path / "a" / "b"))
    before = os.umask(0)
    try:
        with cache.compile_lock("k") as held:
            assert held
    finally:
        os.umask(before)
    folders = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert len(folders) == 3
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users are told apart by numbers")
def test_a_lock_that_is_a_link_is_not_followed(tmp_path, monkeypatch):
    from xfit.engine.codegen import code_store as cache

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
    # The engine is there, kernels are not.
    prepare_engine()
    shutil.copytree(cache_folder(), tmp_path / "kernels" / "code", ignore=shutil.ignore_patterns("kernel-*"))
    finished(start(FROM_PICKLE, str(path), XFIT_CACHE_DIR=str(tmp_path / "kernels")))
    expected = fit_block(program, settings, y, {"x": x})
    assert np.load(f"{path}.npy").tobytes() == expected.tobytes()
