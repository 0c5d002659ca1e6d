"""``xfit info``: what is done of a stored run."""

from __future__ import annotations

import click

from xfit.command.arguments import given_options, reported, storage_options
from xfit.display import is_url, local_path


@click.command()
@click.argument("store")
@click.option(
    "--check", is_flag=True, help="Read all of it, and say what is not as it was written; exit code 1 if anything is."
)
@storage_options
@click.pass_context
def info(context: click.Context, store: str, check: bool, options: tuple[str, ...]) -> None:
    """Show what is done of a run with store=, finished or not.

    \b
    Examples:
      xfit info fit.zarr
      xfit info fit.zarr --check
      xfit info s3://bucket/fit.zarr -o endpoint_url=http://127.0.0.1:9000
    """  # noqa: D301  click wants the character
    given = given_options(options)
    # Not at the top: `xfit --help` need not wait for them.
    from xfit.fitting.stored.check import check as check_all
    from xfit.fitting.stored.info import info as look

    with reported():
        if not is_url(store) and not local_path(store).exists():
            raise FileNotFoundError(f"there is no store {store!r}")
        if check:
            # First: what is damaged may be what there is to show.
            wrong = check_all(store, given)
        if not (check and wrong):
            click.echo(look(store, given))
    if check:
        click.echo("\n".join(f"wrong       {each}" for each in wrong) or "check       all of it is as it was written")
        context.exit(1 if wrong else 0)
