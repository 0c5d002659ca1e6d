"""Random ties: values and derivatives as plain arithmetic has them, circles refused, cost in
proportion to what is written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from xfit import Model
from xfit.components import Offset
from xfit.engine.block.tied_values import slopes_of_ties
from xfit.engine.codegen.tie_compiler import compile_ties
from xfit.engine.evaluation.tie_machine import STACK, Ties, apply_ties, tie_derivatives
from xfit.formulas.parser import names

#: Shapes of ties of one, two and three parameters, tame for arguments of any size: values stay of order one along any
#: chain.
SHAPES = {
    1: [
        "{0}",
        "2 - {0}",
        "0.5*{0} + 0.25",
        "sin({0}) + 1",
        "sqrt(1 + {0}**2) - 0.5",
        "exp(-{0}**2)",
        "where({0} > 0.4, {0}/2, 0.2)",
    ],
    2: [
        "0.5*({0} - {1})",
        "{0}*{1}/(1 + {0}**2 + {1}**2)",
        "tanh({0} + 2*{1})",
        "atan2({0}, 2 + {1}**2)",
        "maximum({0}, {1})/2 + 0.1",
    ],
    3: ["({0} + {1} - {2})/3", "cos({0}*{1}) - {2}/4", "{0}/(1.5 + sin({1})) - 0.3*{2}"],
}

#: How Python's own arithmetic reads the same text: no sympy, no stack machine.
PYTHON = {
    **{name: getattr(math, name) for name in ("sin", "cos", "tanh", "exp", "sqrt", "atan2")},
    "where": lambda condition, one, other: one if condition else other,
    "maximum": max,
    "__builtins__": {},
}

FUZZ = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
    # Smaller models that fail too are looked for too long, each tie costing milliseconds.
    phases=(Phase.explicit, Phase.generate),
)


@st.composite
def tied_models(draw: st.DrawFn, most: int = 200) -> tuple[Model, dict[str, str]]:
    """A model of offsets, the later ones perhaps tied to earlier ones, in an order that has nothing to do with it."""
    count = draw(st.integers(2, most))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    place = random.permutation(count)
    values = random.uniform(-1.5, 1.5, count)
    model = Model([Offset(name=f"o{k}", offset=float(values[k])) for k in range(count)])
    texts = {}
    for k in range(1, count):
        if random.random() < draw(st.sampled_from((0.3, 0.95))):
            # Mostly close ones, so that there are long chains.
            arguments = min(int(random.integers(1, 4)), k)
            sources = [int(place[max(k - 1 - int(random.geometric(0.4) - 1), 0)]) for _ in range(arguments)]
            shape = SHAPES[arguments][random.integers(len(SHAPES[arguments]))]
            texts[f"o{place[k]}.offset"] = shape.format(*(f"o{source}.offset" for source in sources))
    for k in random.permutation(len(texts)):
        name = list(texts)[k]
        model[name].tie(texts[name])
    return model, texts


def by_python(texts: Mapping[str, str], q: Mapping[str, float]) -> dict[str, float]:
    """Values of all parameters, the tied ones from the others by Python's arithmetic, in the
    order in which they were drawn.
    """
    values = dict(q)
    for name, text in texts.items():
        local = {each.replace(".", "_"): values[each] for each in names(text)}
        for each in names(text):
            text = text.replace(each, each.replace(".", "_"))
        values[name] = float(eval(text, PYTHON, local))
    return values


def slopes_of(ties: Ties, q: np.ndarray, roots: list[int]) -> np.ndarray:
    """Derivatives of all parameters with respect to the roots, added up as the engine does
    with rows of its Jacobian.
    """
    derivative = np.empty(max(ties.row.size, 1))
    tie_derivatives(ties, q, derivative, np.empty(STACK))
    # The same instructions in NumPy, whose functions differ by an ulp or two.
    np.testing.assert_allclose(slopes_of_ties(ties, q), derivative[: ties.row.size], rtol=1e-12, atol=1e-15)
    rows = np.eye(q.size)
    for d in range(ties.row.size):
        rows[ties.column[d]] += derivative[d] * rows[ties.tied[ties.row[d]]]
    return rows[roots].T


@FUZZ
@given(tied_models())
def test_values_and_derivatives_of_any_ties(drawn):
    model, texts = drawn
    parameters = [p.full_name for p in model.parameters]
    roots = [k for k, name in enumerate(parameters) if name not in texts]
    start = {name: model[name].value for name in parameters if name not in texts}
    expected = by_python(texts, start)
    # Each formula is rounded a few times, and none of the shapes has a slope above 2 but in chains, which multiply it.
    assert [model[name].value for name in parameters] == pytest.approx(
        [expected[n] for n in parameters], rel=1e-9, abs=1e-9
    )

    resolved = model.resolve_ties()
    assert resolved == texts
    seen = set(start)
    for name, text in resolved.items():
        assert set(names(text)) <= seen
        seen.add(name)

    ties = compile_ties(resolved, parameters)
    # Some formulas do not depend on what they name: (a + b - b)/3.
    assert ties.row.size <= sum(len(names(text)) for text in texts.values())
    q = np.array([start.get(name, np.nan) for name in parameters])
    apply_ties(ties, q, np.empty(STACK))
    np.testing.assert_allclose(q, [expected[n] for n in parameters], rtol=1e-9, atol=1e-9)

    slopes = slopes_of(ties, q, roots)
    for column, k in list(enumerate(roots))[:3]:
        step = 1e-6
        up, down = (by_python(texts, start | {parameters[k]: start[parameters[k]] + s}) for s in (step, -step))
        middle = np.array([(up[n] - down[n]) / (2 * step) for n in parameters])
        bend = np.array([(up[n] - 2 * expected[n] + down[n]) / step for n in parameters])
        # Central differences err by the third derivative times the step's square; where a kink lies within the step
        # they are no measure.
        smooth = np.abs(bend) < 1e-3 * (1 + np.abs(middle))
        np.testing.assert_allclose(slopes[smooth, column], middle[smooth], rtol=1e-4, atol=1e-5)


@FUZZ
@given(tied_models(40), st.data())
def test_any_circle_is_refused_by_name(drawn, data):
    model, texts = drawn
    if not texts:
        return
    last = data.draw(st.sampled_from(sorted(texts)))
    # From any parameter that it follows, up to a free one.
    upstream = [last]
    while upstream[-1] in texts:
        upstream.append(names(texts[upstream[-1]])[0])
    first = upstream[-1]
    with pytest.raises(ValueError, match=rf"ties go in a circle: {first} -> .* -> {first}"):
        model[first].tie(f"1 + 0.5*{last}")
    assert model.resolve_ties() == texts
    stored = model.to_dict()
    component = next(c for c in stored["components"] if f"{c['name']}.offset" == first)
    component["parameters"]["offset"] |= {"tie": f"1 + 0.5*{last}", "value": None}
    with pytest.raises(ValueError, match="ties go in a circle: "):
        Model.from_dict(stored)


@pytest.mark.parametrize("shape", ["{0} + 0.1*{0}**2", "{0}*{1}", "{1}"])
def test_the_instructions_of_a_chain_are_as_many_as_its_ties(shape):
    def size(n: int) -> tuple[int, int]:
        texts = {f"p{k}": shape.format(f"p{k - 1}", f"p{max(k - 2, 0)}") for k in range(1, n)}
        ties = compile_ties(texts, [f"p{k}" for k in range(n)])
        return ties.operation.size, ties.row.size

    # Beyond the first few, all ties are of one kind: what ten more add is ten times what one adds.
    (at_10, rows_10), (at_20, rows_20), (at_30, rows_30) = size(10), size(20), size(30)
    assert (at_30 - at_20, rows_30 - rows_20) == (at_20 - at_10, rows_20 - rows_10)


@pytest.mark.parametrize("pixels", [1, 9])
def test_a_fit_through_a_chain_of_forty_ties(pixels):
    """Value, error and degrees of freedom of the one parameter, and of the end of the chain, by the
    chain rule in plain arithmetic.
    """
    model = Model([Offset(name=f"o{k}", offset=0.02) for k in range(40)])
    for k in range(1, 40):
        model[k].offset.tie(f"o{k - 1}.offset + 0.1*o{k - 1}.offset**2")
    random = np.random.default_rng(8)
    da = xr.DataArray(6.0 + random.normal(0, 0.1, (pixels, 50)), dims=("pixel", "x"))
    fit = da.fit.multifit(model)

    def total(first: float) -> tuple[float, float, float, float]:
        """Sum and last of the chain, and their derivatives with respect to its beginning."""
        value, slope = first, 1.0
        parts = [(value, slope)]
        for _ in range(39):
            value, slope = value + 0.1 * value**2, slope * (1 + 0.2 * value)
            parts.append((value, slope))
        return sum(v for v, _ in parts), sum(s for _, s in parts), value, slope

    for y, pixel in zip(da.values, (fit.isel(pixel=i) for i in range(pixels)), strict=True):
        first = brentq(lambda v, y=y: total(v)[0] - y.mean(), 0.0, 0.2, xtol=1e-15)
        _, slope, last, end = total(first)
        # All channels alike, so that the sum is the mean; its error is that of the mean.
        error = y.std(ddof=1) / np.sqrt(50) / slope
        np.testing.assert_allclose([pixel.fit["o0.offset"], pixel.fit["o39.offset"]], [first, last], rtol=1e-8)
        stderr = [pixel.fit.stderr("o0.offset"), pixel.fit.stderr("o39.offset")]
        np.testing.assert_allclose(stderr, [error, error * end], rtol=1e-6)
        assert int(pixel.dof) == 49
