"""The component library: functions of one or two coordinates to build models from."""

# Importing a family registers its components; for type checkers the names are imported too.
from typing import TYPE_CHECKING

from xfit.components import (
    backgrounds,
    decays,
    eels,
    expression,
    function,
    images,
    patterns,
    peaks,
    photoemission,
    skewed,
    steps,
)
from xfit.components.core_loss import component as core_loss_component
from xfit.modeling.component import LIBRARY, Component

if TYPE_CHECKING:
    from xfit.components.backgrounds import *
    from xfit.components.core_loss.component import *
    from xfit.components.decays import *
    from xfit.components.eels import *
    from xfit.components.expression import *
    from xfit.components.function import *
    from xfit.components.images import *
    from xfit.components.patterns import *
    from xfit.components.peaks import *
    from xfit.components.photoemission import *
    from xfit.components.skewed import *
    from xfit.components.steps import *

#: Types of components by the name that stored models use: those that `xfit.modeling.component.library` decorates.
TYPES: dict[str, type[Component]] = dict(sorted(LIBRARY.items()))

globals().update(TYPES)

__all__ = [*TYPES]
