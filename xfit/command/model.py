"""``xfit model``: a model file to begin with."""

from __future__ import annotations

import click

from xfit.command.arguments import FilePath, reported
from xfit.command.components import kind_of


@click.command()
@click.argument("components", nargs=-1, required=True, metavar="[NAME=]COMPONENT...")
@click.option(
    "--out",
    type=FilePath(dir_okay=False, path_type=str),
    help="File to write, .toml or .json; by default it is printed.",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def model(components: tuple[str, ...], out: str | None, overwrite: bool) -> None:
    """Make a model file of components with their default values, to be edited.

    Components that need arguments (Expression, EELSCLEdge, ...) are written by hand; see the page "The command line".

    \b
    Examples:
      xfit model bg=PowerLaw Fe=Gaussian --out model.toml
      xfit model Offset Voigt
    """  # noqa: D301  click wants the character
    from xfit.modeling.model import Model
    from xfit.modeling.model_files import toml_of

    with reported():
        made = Model([_component(text) for text in components])
        if out is None:
            click.echo(toml_of(made), nl=False)
            return
        made.to_file(out, overwrite=overwrite)
    click.echo(f"{out}: {', '.join(component.name for component in made)}")


def _component(text: str):  # type: ignore[no-untyped-def]
    """Make a component from NAME=COMPONENT."""
    name, equals, kind = text.rpartition("=")
    try:
        return kind_of(kind)(name=name if equals else None)
    except TypeError as error:
        raise click.ClickException(f"{kind} can't be made without arguments ({error}); write it by hand") from error
