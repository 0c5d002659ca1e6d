"""``xfit view``: the dashboard of a result and its data."""

from __future__ import annotations

import click

from xfit.command.arguments import given_options, reported, storage_options


@click.command()
@click.argument("fit")
@click.argument("data")
@click.option(
    "--signal", "--variable", "variable", metavar="NAME", help="Signal of DATA that was fitted, where several could be."
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the page; by default one that is free.")
@click.option("--no-browser", is_flag=True, help="Serve the page without opening a browser.")
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help=(
        "Name of a host under which the page may be asked for, besides localhost, for instance behind a proxy; may "
        "be repeated."
    ),
)
@storage_options
def view(
    fit: str,
    data: str,
    variable: str | None,
    port: int,
    no_browser: bool,
    hosts: tuple[str, ...],
    options: tuple[str, ...],
) -> None:
    """Look at a result with its data in a browser; a run that is not finished fills in while it goes on.

    Only this machine can connect, and only by the address that is printed, which has a token.

    FIT is a store of a run (of multifit or SAMFire), or a result in a zarr or netCDF file; DATA is what was fitted, in
    any file that xfit.open reads.

    \b
    Examples:
      xfit view fit.zarr map.zarr
      xfit view fit.nc cube.nc --signal flux
      xfit view fit.zarr map.bcf --signal EDX
    """  # noqa: D301  click wants the character
    given = given_options(options)
    try:
        from xfit.plot.dashboard import Dashboard
    except ImportError as error:
        raise click.ClickException(
            f"xfit view needs Panel ({error}); install it with: pip install 'xfit[view]'"
        ) from error
    from xfit.plot.open_stored import open_data, open_fit
    from xfit.results.fit_result import FitResult

    with reported():
        result, refresh = open_fit(fit, given)
        board = Dashboard(FitResult(result), open_data(data, result, variable, given), refresh=refresh)
        board.show(port=port, show=not no_browser, hosts=hosts)
