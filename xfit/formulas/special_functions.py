"""Functions of formulas that sympy lacks, with derivatives in which nothing cancels, and their value to any precision.

With w(z) = exp(-z^2) erfc(-iz) at z = x + i y, which is analytic, the derivatives of its real part are Re w' and -Im
w', and those of its imaginary part Im w' and Re w' (NIST Handbook 2010, 7.10). Far from zero w' = 2 i / sqrt(pi) - 2 z
w and w'' = -2 w - 2 z w' are differences of nearly equal numbers, so that they are functions of their own; for the same
reason so are the derivatives of erfcx and jinc.
"""

from __future__ import annotations

from typing import Any

import mpmath
import sympy

#: Beyond this, asymptotic series give any precision that is asked for here.
_FAR = 60


class _RealFunction(sympy.Function):
    """A real function of real arguments that is evaluated by mpmath."""

    is_real = True

    @staticmethod
    def _value(*args: Any) -> Any:
        raise NotImplementedError

    def _eval_evalf(self, prec: int) -> Any:
        digits = prec + 40
        for _ in range(6):
            # Small parts of numbers, as Re w next to the real axis, take more digits than are wanted of them.
            with mpmath.workprec(digits):
                args = [mpmath.mpmathify(arg._to_mpmath(digits)) for arg in self.args]
                if not all(isinstance(arg, mpmath.mpf) for arg in args):
                    return None
                value = self._value(*args)
            with mpmath.workprec(2 * digits):
                again = self._value(*args)
            if not mpmath.isfinite(value) or abs(value - again) <= mpmath.ldexp(abs(again), -prec - 2):
                break
            digits *= 3
        return sympy.Float._new(again._mpf_, prec) if mpmath.isfinite(again) else sympy.nan


def _faddeeva(x: Any, y: Any) -> list[Any]:
    """w(z), w'(z) and w''(z) of mpmath numbers."""
    z = mpmath.mpc(x, y)
    if abs(z) < _FAR:
        w = mpmath.exp(-z * z) * mpmath.erfc(-1j * z)
        first = 2j / mpmath.sqrt(mpmath.pi) - 2 * z * w
        return [w, first, -2 * (w + z * first)]
    # The asymptotic series; the exponential belongs to w twice below the real axis, and once next to it.
    terms = [mpmath.mpc(1)]
    for k in range(_FAR):
        terms.append(terms[-1] * (2 * k + 1) / (2 * z * z))
    scale = 1j / (z * mpmath.sqrt(mpmath.pi))
    values = [scale * mpmath.fsum(terms)]
    values += [-scale / z * mpmath.fsum((2 * k + 1) * term for k, term in enumerate(terms))]
    values += [scale / z**2 * mpmath.fsum((2 * k + 1) * (2 * k + 2) * term for k, term in enumerate(terms))]
    share, exponent = 2 if y <= -1 else int(y < 1), y * y - x * x
    if share == 0 or exponent < -1e6:
        return values
    if exponent > 1e4:
        return [mpmath.mpc(mpmath.inf, mpmath.inf)] * 3
    part = share * mpmath.exp(-z * z)
    return [values[0] + part, values[1] - 2 * z * part, values[2] + (4 * z * z - 2) * part]


class wofz_real(_RealFunction):
    """Real part of w(z)."""

    nargs = 2

    @staticmethod
    def _value(x: Any, y: Any) -> Any:
        return _faddeeva(x, y)[0].real

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: D102
        return wofz_prime_real(*self.args) if argindex == 1 else -wofz_prime_imag(*self.args)


class wofz_imag(_RealFunction):
    """Imaginary part of w(z)."""

    nargs = 2

    @staticmethod
    def _value(x: Any, y: Any) -> Any:
        return _faddeeva(x, y)[0].imag

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: D102
        return wofz_prime_imag(*self.args) if argindex == 1 else wofz_prime_real(*self.args)


class wofz_prime_real(_RealFunction):
    """Real part of w'(z)."""

    nargs = 2

    @staticmethod
    def _value(x: Any, y: Any) -> Any:
        return _faddeeva(x, y)[1].real

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: D102
        return wofz_second_real(*self.args) if argindex == 1 else -wofz_second_imag(*self.args)


class wofz_prime_imag(_RealFunction):
    """Imaginary part of w'(z)."""

    nargs = 2

    @staticmethod
    def _value(x: Any, y: Any) -> Any:
        return _faddeeva(x, y)[1].imag

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: D102
        return wofz_second_imag(*self.args) if argindex == 1 else wofz_second_real(*self.args)


class wofz_second_real(_RealFunction):
    """Real part of w''(z), with w''' = -4 w' - 2 z w''."""

    nargs = 2

    @staticmethod
    def _value(x: Any, y: Any) -> Any:
        return _faddeeva(x, y)[2].real

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: D102
        re, im = _third_derivative(*self.args)
        return re if argindex == 1 else -im


class wofz_second_imag(_RealFunction):
    """Imaginary part of w''(z)."""

    nargs = 2

    @staticmethod
    def _value(x: Any, y: Any) -> Any:
        return _faddeeva(x, y)[2].imag

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: D102
        re, im = _third_derivative(*self.args)
        return im if argindex == 1 else re


def _third_derivative(x: Any, y: Any) -> tuple[Any, Any]:
    re, im = wofz_second_real(x, y), wofz_second_imag(x, y)
    return -4 * wofz_prime_real(x, y) - 2 * (x * re - y * im), -4 * wofz_prime_imag(x, y) - 2 * (x * im + y * re)


class Interpolated(sympy.Function):
    """A function given by a table, or a derivative of it: number of the table, order in each argument, arguments.

    No formula can call it by name; see `xfit.formulas.kernel_spec.Lookup`.
    """

    is_real = True

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: D102
        count = (len(self.args) - 1) // 2
        orders = list(self.args[1 : 1 + count])
        orders[argindex - 2 - count] += 1
        return Interpolated(self.args[0], *orders, *self.args[1 + count :])


class Larger(sympy.Function):
    """The larger of two numbers; of two equal ones each has half of the derivative, where sympy's has both or none.

    No formula can call it by name.
    """

    nargs = 2
    is_real = True

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: D102
        a, b = self.args
        return (1 + (sympy.sign(a - b) if argindex == 1 else -sympy.sign(a - b))) / 2


class bspline(sympy.Function):
    """Cubic B-spline with knots at -2, -1, 0, 1 and 2, and integral one.

    No formula can call it by name; see `xfit.formulas.kernel_spec.SplineSum`.
    """

    nargs = 1
    is_real = True

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: D102
        return bspline_prime(self.args[0])


class bspline_prime(sympy.Function):
    """Derivative of `bspline`."""

    nargs = 1
    is_real = True


class voigt(_RealFunction):
    """Voigt profile of unit area: a Gaussian of standard deviation sigma, convolved with a
    Lorentzian of half width gamma.

    It is Re w(z) / (sigma sqrt(2 pi)) with z = (x + i gamma) / (sigma sqrt(2)). As it solves the heat equation, its
    derivative with respect to sigma is sigma times the second one with respect to x; by the chain rule it would cancel
    in the wings.
    """

    nargs = 3

    @staticmethod
    def _value(x: Any, sigma: Any, gamma: Any) -> Any:
        scale = sigma * mpmath.sqrt(2)
        return _faddeeva(x / scale, gamma / scale)[0].real / (scale * mpmath.sqrt(mpmath.pi))

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: D102
        _, sigma, _ = self.args
        if argindex == 2:
            return wofz_second_real(*self._point()) / (2 * sympy.sqrt(2 * sympy.pi) * sigma**2)
        part = wofz_prime_real(*self._point()) if argindex == 1 else -wofz_prime_imag(*self._point())
        return part / (2 * sympy.sqrt(sympy.pi) * sigma**2)

    def _point(self) -> tuple[Any, Any]:
        x, sigma, gamma = self.args
        return x / (sympy.sqrt(2) * sigma), gamma / (sympy.sqrt(2) * sigma)

    def written_out(self) -> Any:
        """The same in terms of the Faddeeva function, of which its derivatives are made too."""
        return wofz_real(*self._point()) / (sympy.sqrt(2 * sympy.pi) * self.args[1])


def written_out(expr: Any) -> Any:
    """Put in for `voigt` what it is."""
    return expr.replace(lambda e: isinstance(e, voigt), lambda e: e.written_out())


class erfcx(_RealFunction):
    """Scaled complementary error function, exp(x^2) erfc(x) = w(i x)."""

    nargs = 1

    @staticmethod
    def _value(x: Any) -> Any:
        return _faddeeva(mpmath.mpf(0), x)[0].real

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: D102
        return erfcx_prime(self.args[0])


class erfcx_prime(_RealFunction):
    """Derivative of erfcx, 2 x erfcx(x) - 2 / sqrt(pi)."""

    nargs = 1

    @staticmethod
    def _value(x: Any) -> Any:
        return -_faddeeva(mpmath.mpf(0), x)[1].imag

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: D102
        x = self.args[0]
        return 2 * erfcx(x) + 2 * x * erfcx_prime(x)


class besselj0(_RealFunction):
    """Bessel function J0."""

    nargs = 1

    @staticmethod
    def _value(x: Any) -> Any:
        return mpmath.besselj(0, x)

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: D102
        return -besselj1(self.args[0])


class besselj1(_RealFunction):
    """Bessel function J1; its derivative J0 - J1 / x is written with jinc, which is smooth at zero."""

    nargs = 1

    @staticmethod
    def _value(x: Any) -> Any:
        return mpmath.besselj(1, x)

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: D102
        return besselj0(self.args[0]) - jinc(self.args[0]) / 2


class jinc(_RealFunction):
    """2 J1(x) / x, one at zero."""

    nargs = 1

    @staticmethod
    def _value(x: Any) -> Any:
        return 2 * mpmath.besselj(1, x) / x if x else mpmath.mpf(1)

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: D102
        return jinc_prime(self.args[0])


class jinc_prime(_RealFunction):
    """Derivative of jinc, -2 J2(x) / x, zero at zero."""

    nargs = 1

    @staticmethod
    def _value(x: Any) -> Any:
        return -2 * mpmath.besselj(2, x) / x if x else mpmath.mpf(0)

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: D102
        x = self.args[0]
        slope = -jinc(x) - 3 * jinc_prime(x) / x
        return sympy.Piecewise((slope, sympy.Ne(x, 0)), (-sympy.Rational(1, 4), True))


#: By the names that formulas call them by.
FUNCTIONS: dict[str, type[_RealFunction]] = {
    function.__name__: function
    for function in (
        wofz_real,
        wofz_imag,
        wofz_prime_real,
        wofz_prime_imag,
        wofz_second_real,
        wofz_second_imag,
        voigt,
        erfcx,
        erfcx_prime,
        besselj0,
        besselj1,
        jinc,
        jinc_prime,
    )
}
