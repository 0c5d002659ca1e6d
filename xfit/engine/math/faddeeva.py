"""The Faddeeva function w(z) = exp(-z^2) erfc(-iz) with two derivatives, all parts at once, for loops that vectorise.

Its real part is the Voigt profile, its imaginary part on the real axis Dawson's integral. The method is that of Al Azah
and Chandler-Wilde (SIAM J. Numer. Anal. 59, 2346 (2021), doi 10.1137/20M1373037), after Matta and Reichel (Math. Comp.
25, 339 (1971), doi 10.1090/S0025-5718-1971-0295528-2): the integral by the trapezoidal rule, in steps of sqrt(pi/12),
and what a pole between two nodes adds to it. One of two sets of nodes, half a step apart, is always more than a quarter
of a step from the pole. In the sum for the real part all terms are positive, so nothing cancels, however small y is.
Nodes and weights, the polynomials (Remez's algorithm) and the series are worked out in 45 digits.
"""

from __future__ import annotations

import math

from xfit.engine.math.arithmetic import (
    LN2_HI,
    LN2_LO,
    LOG2E,
    ROUND,
    bits,
    cubic,
    expm1_reduced,
    scaled,
    short,
    vectorisable,
)
from xfit.engine.math.elementary import cos, exp, sin

#: One over the step, and pi over the step, above which the pole adds nothing.
_PER_STEP = 1.9544100476116797
_STRIP = 6.139960247678931

# sin(2 pi v) = v s(v^2) and cos(2 pi v) = c(v^2) for |v| <= 1/4, errors 3e-19 and 4e-18.
_S0, _S1, _S2, _S3 = 6.283185307179586, -41.341702240399755, 81.60524927607341, -76.70585975279936
_S4, _S5, _S6, _S7 = 42.05869392382836, -15.094641621668838, 3.8199270674416534, -0.7177237058009746
_S8 = 0.10085669112433675
_C1, _C2, _C3, _C4 = -19.739208802178705, 64.93939402266396, -85.45681720598174, 60.24464131323094
_C5, _C6, _C7, _C8 = -26.42625406909743, 7.903462537597423, -1.7132188587786943, 0.2719476416624496

#: Of the asymptotic series of i sqrt(pi) z^2 w'(z) in 1 / z^2, (2 k + 1)!! / 2^k.
_A1, _A2, _A3, _A4 = 1.5, 3.75, 13.125, 59.0625
_A5, _A6, _A7, _A8 = 324.84375, 2111.484375, 15836.1328125, 134607.12890625
_A9, _A10, _A11, _A12 = 1278767.724609375, 13427061.108398438, 154411202.74658203, 1930140034.3322754
# Of that of sqrt(pi) z^3 w''(z) / (2 i): each times k + 1.
_B1, _B2, _B3, _B4 = 3.0, 11.25, 52.5, 295.3125
_B5, _B6, _B7, _B8 = 1949.0625, 14780.390625, 126689.0625, 1211464.16015625
_B9, _B10, _B11, _B12 = 12787677.24609375, 147697672.1923828, 1852934432.9589844, 25091820446.31958
#: Square of the distance from zero beyond which derivatives come from the series: nearer, less cancels than it lacks.
_SERIES = 100.0

_LARGEST = 1.7976931348623157e308
_SQRT_PI, _TWO_OVER_SQRT_PI = 1.772453850905516, 1.1283791670955126


@vectorisable
def _nodes(
    odd: bool, x: float, x2: float, y2: float, m0: tuple[float, float], t0: tuple[float, float]
) -> tuple[float, float, float, float]:
    """The product of the squared distances of two opposite nodes from z, the weight, and |z|^2 +- the node's square."""
    node = t0[0] if odd else m0[0]
    weight = t0[1] if odd else m0[1]
    square = node * node
    return ((x - node) * (x - node) + y2) * ((x + node) * (x + node) + y2), weight, x2 + y2 + square, x2 + y2 - square


@vectorisable
def _two_nodes(
    odd: bool,
    x: float,
    x2: float,
    y2: float,
    m0: tuple[float, float],
    t0: tuple[float, float],
    m1: tuple[float, float],
    t1: tuple[float, float],
) -> tuple[float, float]:
    """What two nodes of either set add to Re w / y and Im w / x, with one division for both."""
    first, first_weight, first_plus, first_minus = _nodes(odd, x, x2, y2, m0, t0)
    second, second_weight, second_plus, second_minus = _nodes(odd, x, x2, y2, m1, t1)
    inverse = 1.0 / (first * second)
    a = first_weight * (second * inverse)
    b = second_weight * (first * inverse)
    return a * first_plus + b * second_plus, a * first_minus + b * second_minus


@vectorisable
def _sum(odd: bool, x: float, y: float) -> tuple[float, float]:
    """The trapezoidal sum in the first quadrant, over the nodes (k + 1/2) h or, if ``odd``, k h.

    For each k stand here the node and its weight 2 h exp(-node^2) / pi in the first set, then in the second.
    """
    x2, y2 = x * x, y * y
    re0, im0 = _two_nodes(
        odd,
        x,
        x2,
        y2,
        (0.2558316769866221, 0.30509839916005094),
        (0.0, 0.16286750396763996),
        (0.7674950309598664, 0.1807356685638489),
        (0.5116633539732443, 0.250706969245996),
    )
    re1, im1 = _two_nodes(
        odd,
        x,
        x2,
        y2,
        (1.2791583849331105, 0.06342372596268704),
        (1.0233267079464885, 0.1143068661759066),
        (1.7908217389063548, 0.013184497283710203),
        (1.5349900619197328, 0.03087323729106693),
    )
    re2, im2 = _two_nodes(
        odd,
        x,
        x2,
        y2,
        (2.302485092879599, 0.001623601108607448),
        (2.046653415892977, 0.004939647571913581),
        (2.8141484468528435, 0.0001184401760668592),
        (2.558316769866221, 0.0004681809075069735),
    )
    re3, im3 = _two_nodes(
        odd,
        x,
        x2,
        y2,
        (3.3258118008260875, 5.118264087700047e-06),
        (3.0699801238394655, 2.628665799613643e-05),
        (3.837475154799332, 1.3102382619123278e-07),
        (3.5816434778127095, 8.743010328483478e-07),
    )
    re4, im4 = _two_nodes(
        odd,
        x,
        x2,
        y2,
        (4.349138508772576, 1.9869265173884656e-09),
        (4.093306831785954, 1.722624220227915e-08),
        (4.86080186274582, 1.7849139143299767e-11),
        (4.604970185759198, 2.0105924521441884e-10),
    )
    re5, im5 = _two_nodes(
        odd,
        x,
        x2,
        y2,
        (5.372465216719065, 9.498536269129225e-14),
        (5.116633539732442, 1.390149435273149e-12),
        (5.884128570692309, 2.9943325866350354e-16),
        (5.628296893705687, 5.693808656908772e-15),
    )
    re6, im6 = _two_nodes(
        odd,
        x,
        x2,
        y2,
        (6.395791924665553, 5.591744625227979e-19),
        (6.139960247678931, 1.381491414254464e-17),
        (6.907455278638797, 6.185838287407227e-22),
        (6.651623601652175, 1.9856260097387415e-20),
    )
    re = re0 + (re1 + (re2 + (re3 + (re4 + (re5 + re6)))))
    im = im0 + (im1 + (im2 + (im3 + (im4 + (im5 + im6)))))
    return y * re, x * im


@vectorisable
def _exponential(x: float, y: float) -> tuple[float, float, float]:
    """exp(y^2 - x^2), cos(2 x y) and sin(2 x y), of which exp(-z^2) and its conjugate are made.

    Squares are exact but for a rest that is added last, or the exponential would lose the digits of its argument.
    """
    x_short, y_short = short(x), short(y)
    high = y_short * y_short - x_short * x_short
    low = (y - y_short) * (y + y_short) - (x - x_short) * (x + x_short)
    shifted = high * LOG2E + ROUND
    k = shifted - ROUND
    r = ((high - k * LN2_HI) + low) - k * LN2_LO
    size = scaled(1.0 + expm1_reduced(r), shifted, high > 0.0)
    vanishes = high < -746.0
    size = 0.0 if vanishes else size
    size = math.inf if high > 710.0 else size
    angle = 0.0 if vanishes else 2.0 * x * y
    return size, cos(angle), sin(angle)


@vectorisable
def _pole(odd: bool, v: float, y: float, size: float, c: float, s: float) -> tuple[float, float]:
    """What the pole adds: 2 exp(-z^2) / (1 + exp(-2 pi i (v + i y / h))), v steps from the middle between two nodes."""
    v2 = v * v
    v4 = v2 * v2
    v8 = v4 * v4
    sine = v * (cubic(v2, v4, _S0, _S1, _S2, _S3) + v8 * cubic(v2, v4, _S4, _S5, _S6, _S7) + v8 * v8 * _S8)
    cosine = 1.0 + v2 * (cubic(v2, v4, _C1, _C2, _C3, _C4) + v8 * cubic(v2, v4, _C5, _C6, _C7, _C8))
    decay = exp(-2.0 * _STRIP * y)
    scale = 2.0 * size * decay / (1.0 + decay * (2.0 * cosine + decay))
    inside = y < _STRIP
    re = scale * (c * (cosine + decay) + s * sine)
    im = scale * (c * sine - s * (cosine + decay))
    return re if inside else 0.0, im if inside else 0.0


@vectorisable
def _first_series(re: float, im: float) -> tuple[float, float]:
    """The series of w' over its first term, in u = re + i im = 1 / z^2: real and imaginary part.

    A polynomial with real coefficients comes from twice the real part of u and its square modulus alone (Knuth, The Art
    of Computer Programming 2, 4.6.4), and the small parts of what lies next to the real axis keep all their digits.
    """
    double, size = 2.0 * re, re * re + im * im
    b11 = _A11 + double * _A12
    b10 = _A10 + double * b11 - size * _A12
    b9 = _A9 + double * b10 - size * b11
    b8 = _A8 + double * b9 - size * b10
    b7 = _A7 + double * b8 - size * b9
    b6 = _A6 + double * b7 - size * b8
    b5 = _A5 + double * b6 - size * b7
    b4 = _A4 + double * b5 - size * b6
    b3 = _A3 + double * b4 - size * b5
    b2 = _A2 + double * b3 - size * b4
    b1 = _A1 + double * b2 - size * b3
    return (1.0 - size * b2) + re * b1, im * b1


@vectorisable
def _second_series(re: float, im: float) -> tuple[float, float]:
    """The series of w'' over its first term, as in `_first_series`."""
    double, size = 2.0 * re, re * re + im * im
    b11 = _B11 + double * _B12
    b10 = _B10 + double * b11 - size * _B12
    b9 = _B9 + double * b10 - size * b11
    b8 = _B8 + double * b9 - size * b10
    b7 = _B7 + double * b8 - size * b9
    b6 = _B6 + double * b7 - size * b8
    b5 = _B5 + double * b6 - size * b7
    b4 = _B4 + double * b5 - size * b6
    b3 = _B3 + double * b4 - size * b5
    b2 = _B2 + double * b3 - size * b4
    b1 = _B1 + double * b2 - size * b3
    return (1.0 - size * b2) + re * b1, im * b1


@vectorisable
def _far_derivatives(
    p: float, q: float, x: float, y: float, size: float, c: float, s: float
) -> tuple[float, float, float, float]:
    """w'(z) and w''(z) far from zero by their asymptotic series, and what is there of the exponential.

    1 / z is p - i q, exp(-z^2) is size (c - i s). It belongs to w twice below the real axis, once on it and not at all
    above: where that changes, next to the axis, it is far too small to matter as soon as it is not the whole.
    """
    u_re, u_im = (p - q) * (p + q), -2.0 * p * q
    re, im = _first_series(u_re, u_im)
    first_re, first_im = (u_re * im + u_im * re) / _SQRT_PI, (u_im * im - u_re * re) / _SQRT_PI
    re, im = _second_series(u_re, u_im)
    re, im = u_re * re - u_im * im, u_re * im + u_im * re
    second_re, second_im = (q * re - p * im) * _TWO_OVER_SQRT_PI, (p * re + q * im) * _TWO_OVER_SQRT_PI
    share = size if abs(y) < 1.0 else (0.0 if y > 0.0 else 2.0 * size)
    present = share > 0.0
    # -2 z exp(-z^2) and (4 z^2 - 2) exp(-z^2)
    first_re -= 2.0 * share * (x * c + y * s) if present else 0.0
    first_im -= 2.0 * share * (y * c - x * s) if present else 0.0
    a, b = 4.0 * (x - y) * (x + y) - 2.0, 8.0 * x * y
    second_re += share * (a * c + b * s) if present else 0.0
    second_im += share * (b * c - a * s) if present else 0.0
    return first_re, first_im, second_re, second_im


@vectorisable
def wofz(x: float, y: float) -> tuple[float, float, float, float, float, float]:
    """w(z), w'(z) and w''(z) at z = x + i y, the real and the imaginary part of each.

    In the upper half plane each part of w is right to 1e-14 of itself. So are the derivatives beyond |z| = 10, but next
    to zeros of their parts; nearer, where they come from w, errors grow to 1e-13 and 1e-11. In the lower half plane,
    where w is 2 exp(-z^2) - w(-z), all is so but for what a rounding of x and y changes, which is |z|^2 times as much;
    w overflows there.
    """
    near_x, near_y = abs(x), abs(y)
    near_x = _LARGEST if near_x > _LARGEST else near_x
    near_y = _LARGEST if near_y > _LARGEST else near_y
    upper = y >= 0.0
    largest = near_x if near_x > near_y else near_y
    # 1 / z without overflow: p - i q.
    reach = 1e-170 if largest > 1e130 else 1.0
    p, q = near_x * reach, near_y * reach
    inverse = 1.0 / (p * p + q * q)
    p, q = (p * inverse) * reach, (q * inverse) * reach
    # Beyond 1e150 squares overflow, and beyond 1e8 w is i / (sqrt(pi) z).
    far = largest > 1e8
    near_x = 1e150 if near_x > 1e150 else near_x
    near_y = 1e150 if near_y > 1e150 else near_y
    size, c, s = _exponential(near_x, near_y)
    sum_x = 1e8 if near_x > 1e8 else near_x
    sum_y = 1e8 if near_y > 1e8 else near_y
    steps = sum_x * _PER_STEP
    halves = 2.0 * steps + ROUND
    odd = (bits(halves) & 1) == 1
    re, im = _sum(odd, sum_x, sum_y)
    pole_re, pole_im = _pole(odd, steps - 0.5 * (halves - ROUND), sum_y, size, c, s)
    re = q / _SQRT_PI if far else re + pole_re
    im = p / _SQRT_PI if far else im + pole_im
    re = re if upper else 2.0 * size * c - re
    im = im if upper else 2.0 * size * s + im
    y = near_y if upper else -near_y
    far_derivatives = _far_derivatives(p, q if upper else -q, near_x, y, size, c, s if upper else -s)
    there = near_x * near_x + near_y * near_y > _SERIES
    first_re = -2.0 * (near_x * re - y * im)
    first_im = _TWO_OVER_SQRT_PI - 2.0 * (near_x * im + y * re)
    second_re = -2.0 * (re + (near_x * first_re - y * first_im))
    second_im = -2.0 * (im + (near_x * first_im + y * first_re))
    first_re = far_derivatives[0] if there else first_re
    first_im = far_derivatives[1] if there else first_im
    second_re = far_derivatives[2] if there else second_re
    second_im = far_derivatives[3] if there else second_im
    # w(-x + i y) is the conjugate of w(x + i y).
    left = x < 0.0
    im = -im if left else im
    first_re = -first_re if left else first_re
    second_im = -second_im if left else second_im
    return re, im, first_re, first_im, second_re, second_im


@vectorisable
def wofz_real(x: float, y: float) -> float:
    """Real part of w(x + i y): the Voigt profile but for a factor."""
    return wofz(x, y)[0]


@vectorisable
def wofz_imag(x: float, y: float) -> float:
    """Imaginary part of w(x + i y): Dawson's integral times 2 / sqrt(pi) where y is zero."""
    return wofz(x, y)[1]
