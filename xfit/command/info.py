"""``xfit info``: what is done of a stored run."""

from __future__ import annotations

from pathlib import Path

import click

from xfit.command.arguments import given_options, reported, storage_options


@click.command()
@click.argument("store")
@storage_options
def info(store: str, options: tuple[str, ...]) -> None:
    """Show what is done of a run with store=, finished or not.

    \b
    Examples:
      xfit info fit.zarr
      xfit info s3://bucket/fit.zarr -o endpoint_url=http://127.0.0.1:9000
    """  # noqa: D301  click wants the character
    given = given_options(options)
    # Not at the top: `xfit --help` need not wait for them.
    from xfit.stored.info import info as look

    with reported():
        if "://" not in store and not Path(store).exists():
            raise FileNotFoundError(f"there is no store {store!r}")
        click.echo(look(store, given))
