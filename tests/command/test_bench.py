"""`xfit bench`: other tools fit the same spectra and find the same; what fails or is missing is said."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from xfit.command import main
from xfit.command.bench import bench, with_scipy
from xfit.command.bench.rounds import speeds_of
from xfit.command.bench.workloads import WORKLOADS, workload_of

PEERS = [peer for peer in bench.PEERS if peer.name != "xfit"]


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_tool_finds_the_same(peer: bench.Peer, workload: bench.Workload) -> None:
    if not peer.is_installed:
        pytest.skip(f"needs {peer.package}")
    rows = bench.measure(workload, [bench.PEERS[0], peer], rounds=1, pixels=2)
    assert [row.failure for row in rows] == [None, None]
    # All stop where the sum of squares falls by 1e-8 of itself: with 512 channels that is 2e-3 of an error at most.
    assert rows[1].same == 1.0
    assert rows[1].difference is not None
    assert rows[1].difference < 2e-3
    assert all(row.speeds is not None and row.speeds.median > 0 for row in rows)


def test_data_and_model_are_what_they_say() -> None:
    """Residuals at the solution have the noise's standard deviation; more pixels leave the first as they were."""
    for workload in WORKLOADS:
        data = workload.data(4)
        np.testing.assert_array_equal(workload.data(2), data[:2])
        values = with_scipy.fitter(workload)(data)
        residual = np.concatenate([y - workload(workload.x, *p) for y, p in zip(data, values, strict=True)])
        # 512 deviates or more: their standard deviation is known to 3 %, and a few per cent go into the parameters.
        assert residual.std() == pytest.approx(workload.noise, rel=0.12)
    with pytest.raises(ValueError, match="there are gaussian, edge, voigt"):
        workload_of("edges")


def test_command_prints_and_writes(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    arguments = [
        "bench",
        "--peer",
        "scipy",
        "--workload",
        "gaussian",
        "--pixels",
        "3",
        "--rounds",
        "2",
        "--json",
        str(path),
    ]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    content = json.loads(path.read_text())
    assert [row["tool"] for row in content["rows"]] == ["xfit", "scipy"]
    row = content["rows"][1]
    assert (row["pixels"], row["same"], content["rounds"]) == (3, 1.0, 2)
    assert row["difference"] < 2e-3
    assert {"numpy", "scipy", "numba"} <= set(content["versions"])
    for words in ("Gaussian + offset", "scipy", "100 %", content["versions"]["scipy"], content["machine"][:20]):
        assert words in done.output


def test_command_says_what_is_missing_or_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert "--json" in run(main, ["bench", "--json", str(tmp_path / "none" / "out.json")]).output
    assert "'scypi' is not one of" in run(main, ["bench", "--peer", "scypi"]).output

    def broken(workload: bench.Workload) -> bench.Fit:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(with_scipy, "fitter", broken)
    failed = run(main, ["bench", "--peer", "scipy", "--workload", "gaussian", "--pixels", "2", "--rounds", "1"])
    assert failed.exit_code == 1
    assert "scipy (gaussian) failed: RuntimeError: no such thing" in failed.output
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lmfit" else known(name))
    missing = run(main, ["bench", "--peer", "lmfit"])
    assert missing.exit_code == 1
    assert "pip install lmfit" in missing.output


def test_a_negative_width_is_the_same_peak() -> None:
    workload = workload_of("gaussian")
    turned = np.array([[-50.0, 5.0, -0.8, 3.0]])
    np.testing.assert_array_equal(bench.with_positive_widths(workload, turned), [[50.0, 5.0, 0.8, 3.0]])
    difference, same = bench.compare(workload, turned, np.array([[50.0, 5.0, 0.8, 4.0]]), np.full((1, 4), 2.0))
    assert (difference, same) == (0.5, 0.0)


def test_rounds_are_compared_in_pairs() -> None:
    """By hand: ratios 4 and 2, whose median is 3, though that of the speeds is 300/75."""
    found = speeds_of([100, 50, None], [400, 100, 300])
    assert found is not None
    assert (found.median, found.low, found.high, found.lead) == (75, 50, 100, 3)
    assert speeds_of([None], [1.0]) is None
