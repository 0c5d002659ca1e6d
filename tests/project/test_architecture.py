"""The plan of the code: packages and their layers, names, and the sources that machine code is made from."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest

import xfit
from tests.support.paths import ROOT
from xfit.engine.codegen.sources import COMPONENT_SOURCES, ENGINE_SOURCES
from xfit.engine.math.entries import ENTRIES
from xfit.fitting.planning.arguments import FIT_ARGUMENTS, FitArguments, StoreArguments

PACKAGE = ROOT / "xfit"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("lint-imports")
    if not command.exists():
        pytest.skip("import-linter is not installed")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [str(command), "--no-cache"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, folder / "xfit", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_packages_import_those_below_them(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout
    assert "5 kept, 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("arrays/masks.py", "from xfit.fitting.multifit import multifit"),
        # Those that share a line; in a function; within a package; what the engine must not know.
        ("results/report.py", "from xfit.components import Gaussian"),
        ("modeling/model.py", "def later():\n    from xfit.engine.block.fit_block import fit_block"),
        ("engine/lm/steps.py", "from xfit.engine.pixel.lanes import fit_side_by_side"),
        ("engine/codegen/program.py", "import sympy"),
        ("fitting/planning/plan.py", "from xfit.fitting.stored.run import run_stored"),
        ("formulas/parser.py", "from xfit.formulas.graph import Graph"),
    ],
)
def test_a_planted_import_is_found(module: str, line: str, copy: Path) -> None:
    path = copy / "xfit" / module
    before = path.read_text()
    try:
        path.write_text(f"{before}\n\n{line}\n")
        done = lint(copy)
    finally:
        path.write_text(before)
    assert done.returncode == 1
    assert "1 broken" in done.stdout or "2 broken" in done.stdout


def test_twelve_packages_and_six_modules() -> None:
    assert {each.name for each in PACKAGE.iterdir() if (each / "__init__.py").exists()} == {
        "arrays",
        "command",
        "components",
        "engine",
        "files",
        "fitting",
        "formulas",
        "hyperspy",
        "modeling",
        "plot",
        "results",
        "samfire",
    }
    assert {each.stem for each in PACKAGE.glob("*.py")} == {
        "__init__",
        "_version",
        "accessor",
        "display",
        "noise",
        "progress",
        "result_accessor",
    }


def test_no_two_classes_share_a_name() -> None:
    names = [name for path in PACKAGE.rglob("*.py") for name in re.findall(r"^class (\w+)", path.read_text(), re.M)]
    assert [name for name, count in Counter(names).items() if count > 1] == []


def imported(source: str, seen: set[str]) -> set[str]:
    """Modules of xfit that a module imports when it is loaded or called, directly or not, as
    paths; not those for type checkers.
    """
    if source in seen:
        return seen
    seen.add(source)
    tree = ast.parse((PACKAGE / source).read_text())
    for node in list(ast.walk(tree)):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body.clear()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("xfit."):
            place = Path(*str(node.module).split(".")[1:])
            found = [place / f"{each.name}.py" for each in node.names if (PACKAGE / place / f"{each.name}.py").exists()]
            for each in found or [place.with_suffix(".py")]:
                imported(each.as_posix(), seen)
    return seen


def test_sources_of_the_engine_are_listed() -> None:
    """All that the functions which Python calls are compiled from, and nothing else: what is missing would
    leave old machine code in use.
    """
    importlib.import_module("xfit.engine.block.precompile")
    entries = {Path(entry.function.__code__.co_filename).relative_to(PACKAGE).as_posix() for entry in ENTRIES.values()}
    needed: set[str] = set()
    for entry in entries:
        imported(entry, needed)
    assert set(ENGINE_SOURCES) == needed | {"engine/codegen/machine_code.py"}


def test_sources_of_kernels_are_listed() -> None:
    """All that the kernels of components are written by, and all that they call."""
    needed = imported("engine/codegen/kernel_source.py", set())
    for module in re.findall(r'"(engine\.math\.\w+)":', (PACKAGE / "engine/codegen/kernel_source.py").read_text()):
        imported(module.replace(".", "/") + ".py", needed)
    assert needed <= set(COMPONENT_SOURCES) | {"display.py", "progress.py"}
    # How they are compiled, and how the engine calls them.
    assert set(COMPONENT_SOURCES) - needed == {
        "engine/codegen/kernel_cache.py",
        "engine/codegen/machine_code.py",
        "engine/math/call.py",
        "engine/math/records.py",
        "engine/math/widths.py",
    }


def test_the_public_call_and_the_list_of_options_agree() -> None:
    parameters = inspect.signature(xfit.multifit).parameters
    options = {name: each.default for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY}
    asked, stored = FitArguments(), StoreArguments()
    known = {name: getattr(asked, name, getattr(asked.engine, name, None)) for name in FIT_ARGUMENTS}
    assert options == known | {each.name: getattr(stored, each.name) for each in fields(stored)}


def test_files_of_tests_are_short_and_import_no_other() -> None:
    tests = [path for path in (ROOT / "tests").rglob("*.py") if path.name.startswith("test_")]
    long = [path.name for path in tests if len(path.read_text(encoding="utf-8").splitlines()) > 500]
    assert long == []
    importing = [
        path.name
        for path in tests
        if re.search(r"^\s*(?:from|import) tests\.(?!support\b)", path.read_text(encoding="utf-8"), re.M)
    ]
    assert importing == []
