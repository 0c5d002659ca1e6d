"""Formulas that several components share, as text, in forms that neither overflow nor cancel."""

from __future__ import annotations

#: Squares of the positive nodes of the Gauss-Hermite rule of eight points, and twice its weights over sqrt(pi).
_HERMITE = (
    (0.14530352150331709, 0.74602451535815470),
    (1.3390972881263614, 0.23447981532351803),
    (3.9269635013582872, 0.019270440241576534),
    (8.5886356890120343, 0.00022522907675073554),
)


def log1p(z: str) -> str:
    """Write log(1 + z) for z >= 0, to full precision where z is small.

    There it is ``2 atanh(s)`` with ``s = z / (2 + z)``, by its series, whose next term is below 2e-17.
    """
    s = f"(({z})/(2 + {z}))"
    return f"where({z} < 0.02, 2*{s}*(1 + {s}**2*(1/3 + {s}**2*(1/5 + {s}**2/7))), log(1 + {z}))"


def beyond_one(exponent: str) -> str:
    """Write 2**(1/exponent) - 1, to full precision where the exponent is large."""
    half = f"(log(2)/(2*{exponent}))"
    return f"(2*exp({half})*sinh({half}))"


def gamma_ratio(m: str) -> str:
    """Write Gamma(m) / Gamma(m + 1/2): for large m by the asymptotic series of its logarithm, to 1e-15 there."""
    r = f"(1/({m} - 1/4)**2)"
    series = f"{r}*(1/64 + {r}*(-5/2048 + {r}*(61/49152 + {r}*(-1385/1048576 + {r}*50521/20971520))))"
    return f"where({m} > 12, exp(-{series})/sqrt({m} - 1/4), exp(loggamma({m}) - loggamma({m} + 1/2)))"


def sine(a: str, b: str) -> str:
    """Write a / sqrt(a**2 + b**2), in which neither squares nor, in derivatives, differences lose digits."""
    return f"where(abs({a}) > abs({b}), sign({a})/sqrt(1 + ({b}/{a})**2), {a}/(abs({b})*sqrt(1 + ({a}/{b})**2)))"


def voigt_height(sigma: str, gamma: str) -> str:
    """Write the height of a Voigt profile of unit area, exact where it is a Gaussian or a Lorentzian: see `voigt`."""
    e = f"({sigma}/{gamma})**2"
    far = f"({' + '.join(f'{w!r}/(1 + {2 * t!r}*{e})' for t, w in _HERMITE)})/(pi*{gamma})"
    near = f"erfcx({gamma}/(sqrt(2)*abs({sigma})))/(abs({sigma})*sqrt(2*pi))"
    # Both zero is a line of no width.
    return f"where(abs({gamma}) > 16*abs({sigma}), {far}, where(abs({sigma}) > 0, {near}, 1/abs({sigma})))"


def voigt(u: str, variance: str, gamma: str) -> str:
    """Write a Voigt profile of unit area: a Gaussian convolved with a Lorentzian.

    Parameters
    ----------
    u : str
        Distance to the centre.
    variance : str
        Square of the Gaussian's standard deviation; zero leaves the Lorentzian.
    gamma : str
        Half width at half maximum of the Lorentzian; zero leaves the Gaussian.

    Notes
    -----
    It is ``Re w(z) / (sigma sqrt(2 pi))``, ``z = (u + i gamma) / (sigma sqrt(2))``. Far out, for ``|z|**2 > 128``,
    where derivatives of w cancel and it can't be had for sigma = 0, the convolution is done by a Gauss-Hermite rule: it
    is a continued fraction of w (Gautschi 1970, doi:10.1137/0707012), to 2e-15 there, and its terms are taken in pairs,
    so that it depends on sigma squared only.
    """
    m = f"({u}**2 + {gamma}**2)"
    e, h = f"(({variance})/{m})", f"(({gamma}**2 - {u}**2)/{m})"
    pairs = [f"{w!r}*(1 + {2 * t!r}*{e})/(1 + {4 * t!r}*{e}*{h} + {4 * t * t!r}*{e}**2)" for t, w in _HERMITE]
    far = f"{gamma}/(pi*{m})*({' + '.join(pairs)})"
    width = f"sqrt(2*({variance}))"
    near = f"wofz_real({u}/{width}, {gamma}/{width})/(sqrt(pi)*{width})"
    return f"where({m} > 256*({variance}), {far}, {near})"


def tailed(u: str, sigma: str, tau: str) -> str:
    """Write a Gaussian of unit area convolved with an exponential decay of unit area.

    Parameters
    ----------
    u : str
        Distance to the centre of the Gaussian.
    sigma : str
        Standard deviation of the Gaussian, above zero.
    tau : str
        Decay length; negative for a decay to the left, zero for the Gaussian.

    Notes
    -----
    With ``v = sigma - u tau / sigma`` it is ``exp(-u**2 / (2 sigma**2)) erfcx(v / (sqrt(2) tau)) / (2 tau)``. For
    negative v, where erfcx overflows, its exponential is taken to the other one. For ``v > 16 tau`` derivatives of
    erfcx cancel: there it is a Gauss-Hermite rule, to 2e-15, which goes over to the Gaussian.
    """
    v = f"({sigma} - {u}*{tau}/{sigma})"
    z = f"({v}/(sqrt(2)*abs({tau})))"
    gauss = f"exp(-{u}**2/(2*{sigma}**2))"
    rule = " + ".join(f"{w!r}/(1 + {2 * t!r}*{tau}**2/{v}**2)" for t, w in _HERMITE)
    far = f"{gauss}/(sqrt(2*pi)*{v})*({rule})"
    near = f"{gauss}*erfcx{z}/(2*abs({tau}))"
    tail = f"exp({sigma}**2/(2*{tau}**2) - {u}/{tau})*erfc{z}/(2*abs({tau}))"
    return f"where({v} > 16*abs({tau}), {far}, where({v} > 0, {near}, {tail}))"
