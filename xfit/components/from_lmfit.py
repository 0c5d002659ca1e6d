"""Models of lmfit as models of xfit: built-in line shapes by their formulas, bounds, and expressions as ties."""

from __future__ import annotations

import ast
import inspect
import math
import operator
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from xfit.components.expression import Expression
from xfit.display import cleaned
from xfit.formulas import parser
from xfit.formulas.ordering import in_order
from xfit.formulas.parser import FormulaError
from xfit.formulas.syntax import MAX_NODES
from xfit.formulas.tracing import traced_formula
from xfit.modeling.model import Model

if TYPE_CHECKING:
    import lmfit
    import sympy

_GAUSS = "amplitude/(sigma*sqrt(2*pi))*exp(-(x-center)**2/(2*sigma**2))"
_SKEW = "(1 + erf({}*(x-center)/(sqrt(2)*sigma)))"
_DONIACH = "cos(pi*gamma/2 + (1-gamma)*atan(u))/(1+u**2)**((1-gamma)/2); u = (x-center)/sigma"

#: Real part of the logarithm of gamma(expon + i*skew/2): Stirling's series (DLMF 5.11.1) eight steps further up, where
#: its first neglected term is below 1e-13, less the logarithms of these steps (DLMF 5.5.1).
_COMPLEX_LOGGAMMA = (
    "(a-1/2)*log(r) - y*t - a + log(2*pi)/2 + cos(t)/(12*r) - cos(3*t)/(360*r**3) + cos(5*t)/(1260*r**5)"
    " - cos(7*t)/(1680*r**7) + cos(9*t)/(1188*r**9)" + "".join(f" - log((expon+{k})**2 + y**2)/2" for k in range(8))
)
_PEARSON4 = (
    "amplitude/sigma*exp(2*lg - loggamma(expon) - loggamma(expon-1/2) - log(pi)/2 - expon*log(1+u**2) - skew*atan(u));"
    f"lg = {_COMPLEX_LOGGAMMA}; r = sqrt(a**2 + y**2); t = atan(y/a); a = expon + 8; y = skew/2; u = (x-center)/sigma"
)

#: Formulas by the names of the functions in `lmfit.lineshapes`, in their parameters. lmfit keeps denominators above
#: 1e-15; these do not.
_SHAPES: dict[str, str] = {
    "linear": "slope*x + intercept",
    "parabolic": "a*x**2 + b*x + c",
    "gaussian": _GAUSS,
    "gaussian2d": (
        "amplitude/(2*pi*sigmax*sigmay)*exp(-(x-centerx)**2/(2*sigmax**2))*exp(-(y-centery)**2/(2*sigmay**2))"
    ),
    "lorentzian": "amplitude*sigma/(pi*(sigma**2 + (x-center)**2))",
    "split_lorentzian": (
        "2*amplitude/(pi*(sigma+sigma_r))*w**2/(w**2 + (x-center)**2); w = where(x < center, sigma, sigma_r)"
    ),
    "voigt": "amplitude*voigt(x-center, sigma, gamma)",
    "pvoigt": (
        "amplitude*((1-fraction)*sqrt(log(2)/pi)/sigma*exp(-log(2)*u**2) + fraction/(pi*sigma*(1+u**2)));"
        "u = (x-center)/sigma"
    ),
    "moffat": "amplitude*(1 + ((x-center)/sigma)**2)**(-beta)",
    "pearson4": _PEARSON4,
    "pearson7": (
        "amplitude/(sigma*sqrt(pi))*exp(loggamma(expon) - loggamma(expon-1/2))*(1 + ((x-center)/sigma)**2)**(-expon)"
    ),
    "students_t": (
        "amplitude/sqrt(pi*sigma)*exp(loggamma((sigma+1)/2) - loggamma(sigma/2))*(1 + "
        "(x-center)**2/sigma)**(-(sigma+1)/2)"
    ),
    "breit_wigner": "amplitude*(q*sigma/2 + x - center)**2/((sigma/2)**2 + (x-center)**2)",
    "lognormal": "amplitude/(u*sigma*sqrt(2*pi))*exp(-(log(u)-center)**2/(2*sigma**2)); u = maximum(x, 1e-15)",
    "damped_oscillator": "amplitude/sqrt((1 - (x/center)**2)**2 + (2*sigma*x/center)**2)",
    "dho": (
        "amplitude*sigma/pi*where(x**2 <= 1e-16, 4*gamma*center/(center**2+sigma**2)**2,"
        " (1/((x-center)**2+sigma**2) - 1/((x+center)**2+sigma**2))/(1 - exp(-x/gamma)))"
    ),
    # exp * erfc would be infinite times zero on the left.
    "expgaussian": (
        "amplitude*gamma/2*where(u > 0, exp(-(x-center)**2/(2*sigma**2))*erfcx(u),"
        " exp(gamma*(center + gamma*sigma**2/2 - x))*erfc(u)); u = (center + gamma*sigma**2 - x)/(sqrt(2)*sigma)"
    ),
    "skewed_gaussian": f"{_SKEW.format('gamma')}*{_GAUSS}",
    "skewed_voigt": f"{_SKEW.format('skew')}*amplitude*voigt(x-center, sigma, gamma)",
    "doniach": f"amplitude/sigma**(1-gamma)*{_DONIACH}",
    "powerlaw": "amplitude*x**exponent",
    "exponential": "amplitude*exp(-x/decay)",
    "sine": "amplitude*sin(x*frequency + shift)",
    "expsine": "amplitude*sin(x*frequency + shift)*exp(-x*decay)",
    "logistic": "amplitude*(1 - 1/(1 + exp((x-center)/sigma)))",
    "bose": "amplitude/(exp((x-center)/kt) - 1)",
    "fermi": "amplitude/(exp((x-center)/kt) + 1)",
}

_ARCTAN = (
    "amplitude*(1/2 + atan((x-center)/sigma)/pi)",
    "amplitude*(atan((x-center1)/sigma1) + atan((center2-x)/sigma2))/pi",
)

#: Of those with a ``form``, by it.
_FORMS: dict[str, dict[str, str]] = {
    "thermal_distribution": {
        "bose": "1/(amplitude*exp((x-center)/kt) - 1)",
        "maxwell": "1/(amplitude*exp((x-center)/kt))",
        "fermi": "1/(amplitude*exp((x-center)/kt) + 1)",
    },
    "step": {
        "linear": "amplitude*minimum(1, maximum(0, (x-center)/sigma + 1/2))",
        "atan": _ARCTAN[0],
        "arctan": _ARCTAN[0],
        "erf": "amplitude*(1 + erf((x-center)/sigma))/2",
        "logistic": "amplitude*(1 - 1/(1 + exp((x-center)/sigma)))",
    },
    "rectangle": {
        "linear": (
            "amplitude/2*(minimum(1, maximum(-1, (x-center1)/sigma1)) + minimum(1, maximum(-1, (center2-x)/sigma2)))"
        ),
        "atan": _ARCTAN[1],
        "arctan": _ARCTAN[1],
        "erf": "amplitude*(erf((x-center1)/sigma1) + erf((center2-x)/sigma2))/2",
        "logistic": "amplitude*(1 - 1/(1 + exp((x-center1)/sigma1)) - 1/(1 + exp((center2-x)/sigma2)))",
    },
}

_BY_HAND = (
    "write its formula as an xfit.components.Expression, or its function with @xfit.component, and add it to the model"
)


def from_lmfit(model: lmfit.Model | lmfit.model.ModelResult, params: lmfit.Parameters | None = None) -> Model:
    """Make a model from one of lmfit's.

    Parameters
    ----------
    model : lmfit.Model or lmfit.model.ModelResult
        A built-in model, an ``ExpressionModel``, a function of your own that is a formula, or a sum of these. Each part
        becomes a component that is called as its prefix (without the underscore at the end), or its function, with
        lmfit's parameters.
    params : lmfit.Parameters, optional
        Values, bounds, what varies, and expressions, which become ties; by default those of the result, or
        ``model.make_params()``. What lmfit derives, such as fwhm and height, is in no component and left out.

    Returns
    -------
    Model

    Raises
    ------
    ImportError
        Without lmfit.
    TypeError, ValueError
        For what has no counterpart, naming it and what to do.

    Examples
    --------
    >>> import xfit
    >>> from lmfit.models import GaussianModel, LinearModel
    >>> theirs = GaussianModel(prefix="g_") + LinearModel()
    >>> model = xfit.from_lmfit(theirs, theirs.make_params(g_center=3))
    >>> [p.full_name for p in model.parameters]
    ['g.amplitude', 'g.center', 'g.sigma', 'linear.intercept', 'linear.slope']
    """
    try:
        import lmfit
    except ImportError as error:
        raise ImportError(f"xfit.from_lmfit needs lmfit ({error}); install it with: pip install lmfit") from error

    if isinstance(model, lmfit.model.ModelResult):
        model, params = model.model, model.params if params is None else params
    if not isinstance(model, lmfit.Model):
        raise TypeError(f"from_lmfit takes an lmfit.Model or a ModelResult, not {type(model).__name__}")
    if params is None:
        params = model.make_params()
    if not isinstance(params, lmfit.Parameters):
        raise TypeError(f"params must be lmfit.Parameters, not {type(params).__name__}")
    parts = _parts(model)
    missing = [part.prefix + root for part in parts for root in _roots(part) if part.prefix + root not in params]
    if missing:
        raise ValueError(f"params lacks {missing}; make them with model.make_params()")
    made = Model()
    names: dict[str, str] = {}
    for part in parts:
        component = _component(part)
        made.append(component)
        names |= {part.prefix + p.name: p.full_name for p in component.parameters}
    _set(made, names, params)
    return made


def _parts(model: lmfit.Model) -> list[lmfit.Model]:
    """Models that are added up."""
    import lmfit

    if not isinstance(model, lmfit.model.CompositeModel):
        return [model]
    if model.op is not operator.add:
        name = getattr(model.op, "__name__", repr(model.op))
        raise ValueError(
            f"{model.name}: parts are combined by {name!r}; xfit adds components up. Write what is combined otherwise "
            "as one formula: an lmfit.models.ExpressionModel or an xfit.components.Expression"
        )
    return [*_parts(model.left), *_parts(model.right)]


def _roots(model: lmfit.Model) -> list[str]:
    """Parameters of one part, without its prefix.

    ``param_names`` lacks those whose default is None until parameters have been made, and has those derived of others
    after that.
    """
    arguments = inspect.signature(model.func).parameters
    hinted = [root for root in model.param_hints if root in arguments]
    derived = {root for root, hint in model.param_hints.items() if hint.get("expr") and root not in arguments}
    roots = [root for name in model.param_names if (root := name.removeprefix(model.prefix)) not in derived]
    return list(dict.fromkeys([*roots, *hinted]))


def _component(model: lmfit.Model) -> Expression:
    """One part as a component whose parameters are called as in lmfit, without the prefix."""
    from lmfit.models import ExpressionModel

    roots = _roots(model)
    text, kind = _formula(model, roots)
    name = model.prefix.rstrip("_") or kind
    coordinates = tuple(model.independent_vars) if isinstance(model, ExpressionModel) else None
    try:
        # Of an "e" that is lmfit's constant more is said below.
        called = _called_as_constants({*roots, "e"} & {*roots, *parser.names(text)})
        component = Expression(text, name=name, coordinates=coordinates, parameters=called)
    except (FormulaError, ValueError) as error:
        raise ValueError(f"{model.name} can't be made a component: {error}. To go on, {_BY_HAND}") from error
    found = [p.name for p in component.parameters]
    if set(found) != set(roots):
        odd = sorted(set(found) ^ set(roots))
        raise ValueError(
            f"{model.name}: {odd} are names of lmfit's, not of parameters (Euler's number is E in formulas, or "
            f"exp(1)), or do not matter; the parameters are {roots}. To go on, {_BY_HAND}"
        )
    return component


def _formula(model: lmfit.Model, roots: list[str]) -> tuple[str, str]:
    """Formula of one part, and what to call it."""
    from lmfit import lineshapes, models

    kind = getattr(model.func, "__name__", type(model).__name__)
    if isinstance(model, models.ExpressionModel):
        _check_functions(model)
        return model.expr, "expression"
    if isinstance(model, models.ConstantModel):
        return "c + 0*x", "constant"
    if isinstance(model, models.PolynomialModel):
        return " + ".join(["0*x", *(f"c{k}*x**{k}" for k in range(model.poly_degree + 1))]), "polynomial"
    if isinstance(model, models.ComplexConstantModel | models.SplineModel):
        raise ValueError(
            f"{type(model).__name__} has no counterpart: xfit fits real functions in closed form. For a smooth "
            "background use xfit.components.Polynomial"
        )
    if getattr(lineshapes, kind, None) is model.func:
        if kind in _FORMS:
            form = str(model.opts.get("form", next(iter(_FORMS[kind])))).lower()
            known = _FORMS[kind]
            chosen = next(
                (key for key in known if form == key or (kind.startswith("thermal") and form.startswith(key))), None
            )
            if chosen is None:
                raise ValueError(f"{model.name}: form={form!r} is not known; use one of {', '.join(known)}")
            return known[chosen], kind
        if kind in _SHAPES:
            return _SHAPES[kind], kind
    return _traced(model, roots), kind if kind.isidentifier() else "function"


def _check_functions(model: lmfit.models.ExpressionModel) -> None:
    """Refuse functions that are not what formulas mean by their names: lmfit's line shapes,
    and those of an ``init_script``.
    """
    from asteval import Interpreter
    from lmfit import lineshapes

    plain = Interpreter().symtable
    calls = [node.func for node in ast.walk(ast.parse(model.expr)) if isinstance(node, ast.Call)]
    called = [function.id for function in calls if isinstance(function, ast.Name)]
    other = [n for n in called if n in lineshapes.functions or model.asteval.symtable.get(n) is not plain.get(n)]
    if other:
        raise ValueError(
            f"{model.name} calls {', '.join(map(repr, other))}: line shapes of lmfit and functions of an init_script "
            f"are not known to formulas. Add the line shapes' own models instead, or {_BY_HAND}"
        )


def _traced(model: lmfit.Model, roots: list[str]) -> str:
    """Formula of a function of a user's own, where it is one."""
    axes = ("x",) if len(model.independent_vars) == 1 else ("x", "y")
    text = None
    clash = [name for name in roots if name in axes or (name in parser.FUNCTIONS and name != "gamma")]
    if len(model.independent_vars) <= 2 and not clash:

        def called(x: Any, *values: Any) -> Any:
            x = x if isinstance(x, tuple) else (x,)
            given = dict(zip(model.independent_vars, x, strict=True)) | dict(zip(roots, values, strict=True))
            return model.func(**model.opts, **given)

        text = traced_formula(called, axes, roots)
        if text is not None and not _same(called, text, axes, roots):
            text = None
    if text is None:
        raise ValueError(
            f"{model.name} is a function of your own that is no formula (it decides by values, or calls what formulas "
            f"do not know): {_BY_HAND}"
        )
    return text


def _called_as_constants(roots: Collection[str]) -> tuple[str, ...]:
    """Parameters whose names mean something else in formulas: of a function they are its arguments."""
    return tuple(name for name in (*parser.CONSTANTS, "e") if name in roots)


def _same(called: Any, text: str, axes: tuple[str, ...], roots: list[str]) -> bool:
    """Whether a function has the values of its formula, at a few points."""
    import sympy

    expression = parser.parse(text, _called_as_constants(roots))
    for k in range(3):
        numbers = {name: 0.7 + 0.31 * (j + 1) * (k + 1) % 1.3 for j, name in enumerate((*axes, *roots))}
        x = tuple(np.array([numbers[name], 2 * numbers[name]]) for name in axes)
        value = np.asarray(called(x if len(axes) > 1 else x[0], *(numbers[name] for name in roots)))
        wanted = float(expression.subs({parser.symbol(n): sympy.Float(v, 17) for n, v in numbers.items()}))
        if value.shape != (2,) or not math.isclose(float(value[0]), wanted, rel_tol=1e-9, abs_tol=1e-12):
            return False
    return True


def _set(made: Model, names: Mapping[str, str], params: lmfit.Parameters) -> None:
    """Give parameters the values, bounds and ties of lmfit's."""
    tied = {name: params[name].expr for name in names if params[name].expr}
    for name, full in names.items():
        given = params[name]
        if not np.isfinite(given.value):
            raise ValueError(
                f"{cleaned(name)} has no value ({given.value}); give it one: params[{name!r}].set(value=...)"
            )
        made[full].set(
            value=float(given.value), min=float(given.min), max=float(given.max), free=bool(given.vary or name in tied)
        )
    resolved: dict[str, sympy.Expr] = {}
    for name in tied:
        for each in in_order([name], lambda key: _hidden(key, names, params)):
            if each not in resolved:
                resolved[each] = _resolved(each, names, params, resolved)
        expression = resolved[name]
        if expression.free_symbols:
            made[names[name]].tie(parser.to_text(expression))
        else:
            made[names[name]].set(value=float(expression), free=False)


def _parsed(name: str, params: lmfit.Parameters) -> sympy.Expr:
    """Expression of a parameter as lmfit has it."""
    text = params[name].expr
    try:
        return parser.parse(text, _called_as_constants(params))
    except FormulaError as error:
        raise ValueError(
            f"{cleaned(name)} has the expr {text!r}, which is no formula that a tie can be: {error}"
        ) from error


def _hidden(name: str, names: Mapping[str, str], params: lmfit.Parameters) -> list[str]:
    """Parameters in an expression that are in no component but have expressions themselves."""
    others = sorted(map(str, _parsed(name, params).free_symbols))
    return [other for other in others if other not in names and other in params and params[other].expr]


def _resolved(
    name: str, names: Mapping[str, str], params: lmfit.Parameters, resolved: Mapping[str, sympy.Expr]
) -> sympy.Expr:
    """Expression of a parameter in the names of the model's; those that are in no component are put in."""
    import sympy

    text, expression = params[name].expr, _parsed(name, params)
    put: dict[Any, Any] = {}
    for symbol in expression.free_symbols:
        other = str(symbol)
        if other in names:
            put[symbol] = parser.symbol(names[other])
        elif other not in params:
            raise ValueError(
                f"{cleaned(name)} has the expr {text!r}, which names {other!r}; the parameters are {list(params)}"
            )
        elif params[other].expr:
            put[symbol] = resolved[other]
        elif params[other].vary:
            raise ValueError(
                f"{cleaned(name)} has the expr {text!r}, which names {other!r}, a parameter that is fitted but in no "
                "part of the model; xfit's are parameters of components: tie to one of those, or fix it with "
                f"params[{other!r}].set(vary=False)"
            )
        else:
            put[symbol] = sympy.Float(params[other].value, 17)
    sizes = {symbol: sum(1 for _ in sympy.preorder_traversal(each)) for symbol, each in put.items()}
    parts = sum(sizes.get(each, 1) for each in sympy.preorder_traversal(expression))
    if parts > MAX_NODES:
        hidden = ", ".join(_hidden(name, names, params))
        raise ValueError(
            f"{cleaned(name)} has the expr {text!r}, which has {parts} parts with {hidden} written out, {MAX_NODES} "
            "are possible: make these parameters of a component, for instance of an xfit Offset that is not active, "
            "and tie to them"
        )
    return expression.xreplace(put)
