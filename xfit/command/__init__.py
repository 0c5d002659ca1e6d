"""The command line, a module for each command; see ``xfit --help``."""

from __future__ import annotations

import click

from xfit._version import __version__
from xfit.command.bench.command import bench
from xfit.command.cache import cache
from xfit.command.components import components
from xfit.command.fit import fit
from xfit.command.info import info
from xfit.command.model import model
from xfit.command.optimizers import optimizers
from xfit.command.view import view


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="xfit")
def main() -> None:
    """Curve fitting of hyperspectral data.

    \b
    A map in three steps:
      xfit model bg=PowerLaw Fe=Gaussian --out model.toml    then edit the values in it
      xfit fit map.zarr --model model.toml --out fit.zarr
      xfit view fit.zarr map.zarr

    \b
    Exit codes: 0 done; 1 something is wrong with the input; 2 wrong usage; 3 done, but some chunks could not be read;
    130 interrupted.
    """  # noqa: D301  click wants the character


for _command in (fit, view, info, model, components, optimizers, cache, bench):
    main.add_command(_command)
