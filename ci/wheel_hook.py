"""Puts the machine code that `ci/wheel` has made into the wheel, which is then for that kind of computer;
without it a wheel is for any.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: Environment variable with the folder of machine code.
VARIABLE = "XFIT_MACHINE_CODE"


class MachineCodeHook(BuildHookInterface):
    """See hatchling's documentation of custom build hooks."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folder, and name the kind of computer."""
        folder = os.environ.get(VARIABLE)
        if not folder or version == "editable":
            return
        if not list(Path(folder).glob("*/*.code")):
            raise FileNotFoundError(f"{VARIABLE}={folder} has no machine code; ci/machine_code.py makes it")
        if sys.platform != "linux":
            raise NotImplementedError(
                f"wheels with machine code are made on Linux, not on {sys.platform}; unset {VARIABLE}"
            )
        build_data["force_include"][folder] = "xfit/engine/machine_code"
        build_data["pure_python"] = False
        # Object files that call nothing but functions of C that every libc has.
        build_data["tag"] = f"py3-none-manylinux_2_17_{platform.machine()}"
