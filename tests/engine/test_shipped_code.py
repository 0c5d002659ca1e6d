"""Machine code that came with an installed package: taken, tried by known fits, damaged, for another
processor; and the wheel that has it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from xfit.components import Gaussian, Offset
from xfit.engine.block.known_fits import PROGRAM, results
from xfit.engine.block.precompile import kind_of, prepare_engine
from xfit.engine.codegen.code_file import SUFFIX, digest_of
from xfit.engine.codegen.code_store import content_of
from xfit.engine.codegen.kernel_cache import KIND
from xfit.engine.codegen.program import Program, key_of
from xfit.engine.codegen.shipped import KNOWN, LEVELS, level
from xfit.engine.codegen.sources import engine_hash
from xfit.formulas.function_kernel import FunctionKernel
from xfit.formulas.kernel_spec import FormulaKernel
from xfit.modeling.model import Model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(level() is None, reason="wheels have no machine code for this processor"),
]

#: Fits, and tells how much was compiled for it.
FIT = """
import hashlib
from tests.support.builders import peak_map
import xfit
from xfit.engine.codegen.machine_code import made
from xfit.engine.codegen.subprocess_compile import started
fit = peak_map().fit.multifit(xfit.Model([xfit.components.Gaussian(centre=4.5), xfit.components.Offset()]))
print(hashlib.sha256(fit["value"].values.tobytes() + fit["stderr"].values.tobytes()).hexdigest(), made(), started())
"""


def key(kernel: FormulaKernel | FunctionKernel) -> str:
    """What machine code of a component's formula is found by."""
    assert isinstance(kernel, FormulaKernel)
    return key_of(kernel)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a copy of the package that has machine code in it, as if a wheel had been installed."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT / "xfit", folder / "xfit", ignore=shutil.ignore_patterns("__pycache__", "machine_code"))
    code = code_of(folder)
    code.mkdir(parents=True)
    (code / KNOWN).write_text(results() + "\n")
    model = Program.from_model(Model([Gaussian(), Offset()])).load().program
    prepare_engine("pixel")
    kernels = [*PROGRAM.kernels, *model.kernels]
    pieces = [(kind_of(unit), engine_hash()) for unit in ("rows", "alone", "lanes", "lanes-gram", "pixel")]
    for kind, of in [*pieces, *((KIND, key(kernel)) for kernel in kernels)]:
        content = content_of(kind, of)
        assert content is not None
        (code / f"{kind}-{digest_of(of)}{SUFFIX}").write_bytes(content)
    return folder


def code_of(folder: Path) -> Path:
    """Where the machine code for this processor is."""
    found = level()
    assert found is not None
    return folder / "xfit" / "engine" / "machine_code" / found.name


def fitted(package: Path, cache: Path | None, **variables: str) -> tuple[str, int, int, str]:
    """Hash of a fit in a process that uses a copy of the package; how many functions and pieces were compiled
    for it; what it wrote besides.
    """
    places = {"PYTHONPATH": os.pathsep.join([str(package), str(ROOT)])}
    if cache is not None:
        places["XFIT_CACHE_DIR"] = str(cache)
    done = subprocess.run(
        [sys.executable, "-W", "always::RuntimeWarning", "-c", FIT],
        cwd=package,
        env={**os.environ, **places, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    found, made, started = done.stdout.split()
    return found, int(made), int(started), re.sub(r"xfit: (compiling|waiting for) .*\n", "", done.stderr)


@pytest.fixture(scope="module")
def plain() -> str:
    """Hash of the fit by machine code that this computer has compiled."""
    return fitted(ROOT, None)[0]


def test_nothing_is_compiled_nor_kept(installed: Path, plain: str, tmp_path: Path) -> None:
    assert fitted(installed, tmp_path / "cache") == (plain, 0, 0, "")
    assert not (tmp_path / "cache").exists()


def test_a_damaged_file_is_compiled_again(installed: Path, plain: str, tmp_path: Path) -> None:
    file = next(path for path in code_of(installed).glob("kernel-*") if digest_of(key(Gaussian().kernel)) in path.name)
    content = file.read_bytes()
    try:
        file.write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
        found, made, started, errors = fitted(installed, tmp_path)
    finally:
        file.write_bytes(content)
    # Its functions for one pixel and for pixels side by side.
    assert (found, made, started) == (plain, 2, 0)
    assert f"machine code {file}, which was installed with xfit, is not taken: it is damaged; compiling it" in errors


def test_code_that_computes_something_else_is_not_used(installed: Path, plain: str) -> None:
    known = code_of(installed) / KNOWN
    content = known.read_text()
    try:
        known.write_text("0" * 64 + "\n")
        # What this computer has compiled is taken instead: from the usual cache, to which it is compiled here.
        found, _, _, errors = fitted(installed, None)
    finally:
        known.write_text(content)
    assert found == plain
    assert "machine code that was installed with xfit is not taken: known fits have other results" in errors


def test_code_for_vectors_of_another_width_is_not_taken(
    installed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = "from xfit.engine.codegen.shipped import folder, level; print(level() and level().name, folder())"
    found = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": str(installed), **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for variables in ({}, {"XFIT_LANES": "2"}, {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+sse4.2"})
    ]
    own = level()
    assert own is not None
    assert found == [[own.name, str(code_of(installed))], ["None", "None"], ["None", "None"]]


def test_levels_ask_for_what_they_are_told_to_use() -> None:
    for each in LEVELS:
        told = {name[1:] for name in each.features.split(",") if name.startswith("+")}
        assert told == each.needed


def test_a_wheel_with_machine_code_is_for_one_kind_of_computer(tmp_path: Path) -> None:
    code = tmp_path / "made" / "x86-64-v3"
    code.mkdir(parents=True)
    (code / "kernel-0.code").write_bytes(b"code")
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "__pycache__", "output", "tests", "docs", "dist"))

    def built(**variables: str) -> tuple[str, set[str]]:
        folder = tmp_path / f"wheel{len(variables)}"
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            str(folder),
            str(source),
        ]
        done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        wheel = next(folder.glob("*.whl"))
        return wheel.name, {name for name in zipfile.ZipFile(wheel).namelist() if "machine_code/" in name}

    name, files = built()
    assert name.endswith("-py3-none-any.whl")
    assert not files
    name, files = built(XFIT_MACHINE_CODE=str(tmp_path / "made"))
    assert re.search(r"-py3-none-manylinux_2_17_\w+\.whl$", name)
    assert files == {"xfit/engine/machine_code/x86-64-v3/kernel-0.code"}
