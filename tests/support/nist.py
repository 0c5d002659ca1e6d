"""Reader of the NIST StRD nonlinear regression sets, and a table of how many digits xfit gets:
``python tests/support/nist.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

import xfit
from tests.support.paths import DATA
from xfit.components import Expression

FOLDER = DATA / "nist_strd"
NAMES = sorted(path.stem for path in FOLDER.glob("*.dat"))


@dataclass(frozen=True)
class Certified:
    """One set: formula, two starts, certified values, and data."""

    name: str
    formula: str
    starts: np.ndarray
    values: np.ndarray
    stderr: np.ndarray
    rss: float
    data: xr.DataArray
    coordinates: tuple[str, ...]


def searched(pattern: str, text: str) -> re.Match[str]:
    """Where a pattern is in a text, in which it must be."""
    found = re.search(pattern, text)
    assert found is not None, pattern
    return found


def read(name: str) -> Certified:
    """Read a set; the response of Nelson is the logarithm of the data."""
    lines = (FOLDER / f"{name}.dat").read_text().splitlines()
    text = "\n".join(lines)
    first, last = (int(n) for n in searched(r"Starting Values\s+\(lines\s+(\d+)\s+to\s+(\d+)\)", text).groups())
    begin, end = (int(n) for n in searched(r"\n\s*Data\s+\(lines\s+(\d+)\s+to\s+(\d+)\)", text).groups())
    rows = np.array([line.split("=")[1].split() for line in lines[first - 1 : last] if "=" in line], float)
    rss = float(searched(r"Residual Sum of Squares:\s+(\S+)", text).group(1))
    data = np.array([line.split() for line in lines[begin - 1 : end] if line.strip()], float)
    model = " ".join(lines[next(k for k, line in enumerate(lines) if line.startswith("Model:")) : first - 4])
    formula = searched(r"(?:y|log\[y\])\s*=(.*?)\+\s+e\b", model).group(1)
    formula = formula.replace("[", "(").replace("]", ")")
    coordinates = ("x",) if data.shape[1] == 2 else ("x1", "x2")
    response = np.log(data[:, 0]) if name == "Nelson" else data[:, 0]
    array = xr.DataArray(
        response,
        dims="x" if coordinates == ("x",) else "sample",
        name=name,
        coords={"x": data[:, 1]}
        if coordinates == ("x",)
        else {c: ("sample", data[:, k + 1]) for k, c in enumerate(coordinates)},
    )
    return Certified(name, formula.strip(), rows[:, :2].T, rows[:, 2], rows[:, 3], rss, array, coordinates)


def fit(case: Certified, start: int) -> xr.Dataset:
    """Fit a set from one of its starts through the public surface, with default options."""
    values: dict[str, Any] = {f"b{k + 1}": float(v) for k, v in enumerate(case.starts[start])}
    component = Expression(case.formula, name="m", coordinates=case.coordinates, **values)
    return case.data.fit(xfit.Model([component]))


def digits(found: np.ndarray, certified: np.ndarray | float) -> float:
    """Smallest number of matching digits (log relative error), at most the 11 that are certified."""
    with np.errstate(divide="ignore"):
        matching = -np.log10(np.abs(np.asarray(found) - certified) / np.abs(certified))
    return float(np.clip(np.nan_to_num(matching, nan=0.0, posinf=11.0), 0, 11).min())


def main() -> None:
    """Print the table."""
    print(f"{'set':10s} start  parameters  stderr    rss   nfev  status")
    for name in NAMES:
        case = read(name)
        for start in (0, 1):
            result = fit(case, start)
            cells = (
                digits(result.value, case.values),
                digits(result.stderr, case.stderr),
                digits(result.chisq, np.array(case.rss)),
            )
            print(
                f"{name:10s} {start + 1:5d} {cells[0]:11.1f} {cells[1]:7.1f} {cells[2]:6.1f} {int(result.nfev):6d} "
                f"{int(result.status):7d}"
            )


if __name__ == "__main__":
    main()
