"""The command line: ``xfit info STORE`` and ``xfit optimizers``."""

from __future__ import annotations

import click

from xfit._version import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="xfit")
def main() -> None:
    """Curve fitting of hyperspectral data."""


@main.command()
@click.argument("store")
@click.option(
    "-o",
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="What the file system of a URL needs; may be repeated.",
)
def info(store: str, options: tuple[str, ...]) -> None:
    r"""Show what is done of a run with store=, finished or not.

    \b
    Examples:
      xfit info fit.zarr
      xfit info s3://bucket/fit.zarr -o endpoint_url=http://127.0.0.1:9000
    """
    # Not at the top: `xfit --help` need not wait for them.
    from xfit.stored.info import info as look

    wrong = [each for each in options if "=" not in each]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} must be NAME=VALUE", param_hint="--option")
    given = dict(each.split("=", 1) for each in options)
    try:
        click.echo(look(store, given))
    except (FileNotFoundError, TypeError) as error:
        raise click.ClickException(str(error)) from error


@main.command()
def optimizers() -> None:
    """List the optimizers and what each can do."""
    from xfit.registry import optimizers as table

    table()


if __name__ == "__main__":
    main()
