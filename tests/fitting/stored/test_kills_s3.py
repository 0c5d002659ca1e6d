"""Processes that are killed before and after requests to an S3 server: the old is there whole, or the new goes on;
nothing is damaged afterwards.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.kills import step
from tests.support.paths import ROOT

#: Every so many-th moment that is tried, and what is seen at one or another.
KINDS = {
    "first": (98, {"run"}),
    "overwrite": (150, {"old", "new"}),
    "store": (98, {"none", "new"}),
    "replace": (150, {"old", "new"}),
    "remove": (40, {"old", "none"}),
    "save": (32, {"old", "beside", "new"}),
    "seeds": (30, {"run"}),
}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="each kill is of a fork")
def test_killed_at_requests(s3) -> None:
    """With a step of 1 before and after each, which takes an hour."""
    words = [f"{kind}={step(usual)}" for kind, (usual, _) in KINDS.items()]
    command = [sys.executable, "-m", "tests.support.kills_s3", s3["endpoint_url"], *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for kind, (_, seen) in KINDS.items():
        there = set(found[kind]["seen"])
        assert there
        assert there <= seen
        assert step(0) != 1 or there == seen
    assert sum(len(each["seen"]) for each in found.values()) >= 8
