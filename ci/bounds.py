"""Prints the lowest versions of dependencies that pyproject.toml allows, as requirements for pip,
and what tests need beside them.
"""

import re
import tomllib
from pathlib import Path

#: What is installed for users; of "dev" only what runs the tests, whatever its version.
EXTRAS = ("view", "io", "odr", "cloud")
TESTS = ("hypothesis", "psutil", "pytest", "pytest-xdist")


def bounds() -> list[str]:
    """Requirements, one a line."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(each for name in EXTRAS for each in project["optional-dependencies"][name])]
    found = {re.split(r"[\[>=]", each)[0]: re.sub(r"\[.*\]", "", each).replace(">=", "==") for each in wanted}
    return [*sorted(found.values()), *TESTS]


if __name__ == "__main__":
    print("\n".join(bounds()))
