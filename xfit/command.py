"""The command line: ``xfit info STORE``, ``xfit view FIT DATA``, ``xfit bench`` and ``xfit optimizers``."""

from __future__ import annotations

from pathlib import Path

import click
import xarray as xr

from xfit._version import __version__
from xfit.peers.command import bench

_OPTIONS = click.option(
    "-o",
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="What the file system of a URL needs; may be repeated.",
)


def _given(options: tuple[str, ...]) -> dict[str, str]:
    """Take options of a file system apart."""
    wrong = [each for each in options if "=" not in each]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} must be NAME=VALUE", param_hint="--option")
    return dict(each.split("=", 1) for each in options)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="xfit")
def main() -> None:
    """Curve fitting of hyperspectral data."""


@main.command()
@click.argument("store")
@_OPTIONS
def info(store: str, options: tuple[str, ...]) -> None:
    r"""Show what is done of a run with store=, finished or not.

    \b
    Examples:
      xfit info fit.zarr
      xfit info s3://bucket/fit.zarr -o endpoint_url=http://127.0.0.1:9000
    """
    # Not at the top: `xfit --help` need not wait for them.
    from xfit.stored.info import info as look

    try:
        click.echo(look(store, _given(options)))
    except (FileNotFoundError, TypeError) as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.argument("fit")
@click.argument("data")
@click.option("--variable", metavar="NAME", help="Variable or signal of DATA that was fitted, where several could be.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the page; by default one that is free.")
@click.option("--no-browser", is_flag=True, help="Serve the page without opening a browser.")
@_OPTIONS
def view(fit: str, data: str, variable: str | None, port: int, no_browser: bool, options: tuple[str, ...]) -> None:
    r"""Look at a result with its data in a browser; a run that is not finished fills in while it goes on.

    FIT is a store of a run (of multifit or SAMFire), or a result in a zarr or netCDF file; DATA is what was fitted, in one of these or in any
    file that xfit.open reads.

    \b
    Examples:
      xfit view fit.zarr map.zarr
      xfit view fit.nc cube.nc --variable flux
      xfit view fit.zarr map.bcf --variable EDX
    """
    try:
        from xfit.plot.dashboard import Dashboard
    except ImportError as error:
        raise click.ClickException(
            f"xfit view needs Panel ({error}); install it with: pip install 'xfit[view]'"
        ) from error
    from xfit.plot.opening import open_fit
    from xfit.result import FitResult

    given = _given(options)
    try:
        result, refresh = open_fit(fit, given)
        board = Dashboard(FitResult(result), _data(data, result, variable, given), refresh=refresh)
    except (FileNotFoundError, ImportError, KeyError, ValueError, TypeError) as error:
        raise click.ClickException(str(error.args[0] if isinstance(error, KeyError) else error)) from error
    board.show(port=port, show=not no_browser)


main.add_command(bench)


def _data(path: str, fit: xr.Dataset, variable: str | None, options: dict[str, str]) -> xr.DataArray:
    """Data that were fitted, from a file of any kind."""
    from xfit.files.collection import Signals
    from xfit.files.datasets import NETCDF
    from xfit.plot.opening import open_data

    suffix = Path(path).suffix.lower()
    if "://" in path or suffix in (*NETCDF, ".h5", ".zarr") or (Path(path).is_dir() and suffix != ".zspy"):
        return open_data(path, fit, variable, options)
    from xfit.files.opening import open as open_file

    found = open_file(path, signal=variable)
    if isinstance(found, Signals):
        raise ValueError(f"{path} holds the signals {list(found)}; name one with --variable")
    if isinstance(found, xr.Dataset):
        raise ValueError(f"{path} holds the result of a fit, not data")
    return found


@main.command()
def optimizers() -> None:
    """List the optimizers and what each can do."""
    from xfit.registry import optimizers as table

    table()


if __name__ == "__main__":
    main()
