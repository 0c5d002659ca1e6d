"""Cross-sections of inner-shell ionisation by fast electrons: from hydrogenic wave functions, or from a
table of oscillator strengths.

R. F. Egerton (2011), Electron Energy-Loss Spectroscopy in the Electron Microscope, third edition, sections 3.2 and 3.6,
doi:10.1007/978-1-4419-9583-4. Energies are in eV (of the beam in keV), angles in mrad, momentum transfers q in units of
one over the Bohr radius, cross-sections in barn per eV and atom.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
import xarray as xr

from xfit.components.core_loss.edge_energies import EDGES
from xfit.formulas.spline_table import Table

# Rydberg's constant times hc in eV, Bohr's radius in m, and the rest energy of an electron in eV: CODATA 2022, Mohr et
# al. (2025), Rev. Mod. Phys. 97, 025002, doi:10.1103/RevModPhys.97.025002. Written out, or they would be those of each
# SciPy's year.
RYDBERG = 13.605693122990
BOHR_RADIUS = 5.29177210544e-11
_REST_ENERGY = 0.51099895069e6

#: Exponents of Egerton's empirical factor for L shells, from sodium on.
_L_EXPONENTS = (
    *(0.82, 0.52, 0.52, 0.42, 0.30, 0.29, 0.22, 0.30, 0.22, 0.16, 0.12, 0.13, 0.13),
    *(0.14, 0.16, 0.18, 0.19, 0.22, 0.14, 0.11, 0.12, 0.12, 0.12, 0.10, 0.10, 0.10),
)

#: Largest energy of a beam in keV, for checks.
MAX_BEAM_ENERGY = 3000.0

#: Points of the Gauss-Legendre rule over the logarithm of q squared.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(96)

#: Effective angles that a cross-section is tabulated for, in mrad, and how many of them.
ANGLES = (1.0, 150.0)
_N_ANGLES, _N_ENERGIES = 96, 48

#: Energy in eV that Egerton's factor for L shells adds to the excess energy.
SHIFT = 0.1

#: Part of an edge's energy beyond which tables become logarithmic in the excess energy, and how far they go.
_LINEAR, _REACH = 0.2, 8.0

#: Part of the energy of a beam up to which losses are tabulated; far below all of it, the approximations end.
_MOST_LOST = 0.4

#: Smallest wave number, for a limit that is finite but written as zero over zero.
_SMALL = 1e-7


@dataclass(frozen=True)
class Edge:
    """An edge of an element.

    Attributes
    ----------
    name : str
        Such as "C_K", "Fe_L3" or "La_M5".
    number : int
        Atomic number.
    onset : float
        Energy of the edge, in eV.
    second : float
        How far above an L3 edge the L1 edge lies, from which on its electrons take part; infinite for all others.
    """

    name: str
    number: int
    onset: float
    second: float = math.inf

    @property
    def is_k(self) -> bool:
        """Whether it is a K edge."""
        return self.name.endswith("_K")

    @property
    def is_hydrogenic(self) -> bool:
        """Whether there are hydrogenic wave functions for it: K, and L3, which stands for all L electrons."""
        return self.is_k or math.isfinite(self.second)


def edge_of(name: str) -> Edge:
    """Look an edge up in ``xfit.components.core_loss.edge_energies``.

    Raises
    ------
    ValueError
        For an edge that is not known; lists those of its element that are.
    """
    element, _, shell = name.partition("_") if isinstance(name, str) else ("", "", "")
    if element not in EDGES:
        raise ValueError(
            f"edge={name!r} is not known; it must be an element and a shell, such as 'Fe_L3'; elements are: "
            f"{', '.join(EDGES)}"
        )
    number, energies = EDGES[element]
    if shell not in energies:
        known = ", ".join(f"{element}_{each}" for each in energies)
        raise ValueError(f"edge={name!r} is not known; of {element} there are: {known}")
    second = energies["L1"] - energies["L3"] if shell == "L3" and "L1" in energies else math.inf
    return Edge(name, number, energies[shell], second)


def check_edge(edge: Edge, beam_energy: float, hydrogenic: bool) -> None:
    """Refuse an edge without hydrogenic wave functions where these are wanted, and one that
    costs a beam too much energy.

    Raises
    ------
    ValueError
        Says what to take instead.
    """
    element, _, shell = edge.name.partition("_")
    if hydrogenic and not edge.is_hydrogenic:
        instead = (
            f"take '{element}_L3', which is that of all L electrons"
            if shell in ("L1", "L2") and edge_of(f"{element}_L3").is_hydrogenic
            else "only K and L3 have"
        )
        raise ValueError(
            f"edge={edge.name!r} has no hydrogenic cross-section ({instead}); others need a table: "
            "gos=xfit.read_gos(...)"
        )
    if edge.onset >= _MOST_LOST * 1e3 * beam_energy:
        raise ValueError(
            f"beam_energy={beam_energy:g} keV is too little for {edge.name} at {edge.onset:g} eV; it takes more than "
            f"{edge.onset / _MOST_LOST / 1e3:g} keV"
        )


# --- scattering


def effective_angle(beam_energy: float, energy: float, convergence: float, collection: float) -> float:
    """Collection angle of a parallel beam that collects as much as an aperture does of a convergent one.

    Parameters
    ----------
    beam_energy : float
        In keV.
    energy : float
        Energy loss, in eV.
    convergence, collection : float
        Semi-angles, in mrad.

    Returns
    -------
    float
        In mrad; Egerton's CONCOR2 (appendix B of the book). Its characteristic angle is the energy loss over twice
        gamma T (equation 3.28), of which eXSpy's lacks the two.
    """
    if convergence == 0:
        return collection
    a, b = (convergence * 1e-3) ** 2, (collection * 1e-3) ** 2
    beam = beam_energy * 1e3
    twice = beam * (1 + beam / (2 * _REST_ENERGY)) / (1 + beam / _REST_ENERGY)
    t = (energy / (2 * twice)) ** 2
    parts = math.sqrt((a + b + t) ** 2 - 4 * a * b) - a - b - t
    for one, other in ((b, a), (a, b)):
        root = math.sqrt((other + t - one) ** 2 + 4 * one * t)
        parts += 2 * one * math.log((root + other + t - one) / (2 * t))
    whole = math.log1p(b / t)
    fraction = parts / (2 * a * whole)
    fraction *= 1.0 if convergence <= collection else a / b
    return 1e3 * math.sqrt(t * math.expm1(fraction * whole))


def _momenta(beam_energy: float, energy: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Square of the smallest q, four times the product of the momenta before and after, and
    half of m v squared in eV.
    """
    beam = beam_energy * 1e3
    before = (beam**2 + 2 * beam * _REST_ENERGY) / (2 * _REST_ENERGY * RYDBERG)
    after = ((beam - energy) ** 2 + 2 * (beam - energy) * _REST_ENERGY) / (2 * _REST_ENERGY * RYDBERG)
    # The difference of the squares, without cancellation.
    between = energy * (2 * beam - energy + 2 * _REST_ENERGY) / (2 * _REST_ENERGY * RYDBERG)
    least = (between / (np.sqrt(before) + np.sqrt(after))) ** 2
    gamma = 1 + beam / _REST_ENERGY
    return least, 4 * np.sqrt(before * after), _REST_ENERGY * (1 - 1 / gamma**2) / 2


def integrated(
    strength: Callable[[np.ndarray, np.ndarray], np.ndarray],
    energy: np.ndarray,
    angle: np.ndarray,
    beam_energy: float,
) -> np.ndarray:
    r"""Cross-section from oscillator strengths, over all scattering angles up to one.

    .. math:: \frac{d\sigma}{dE} = \frac{4\pi a_0^2 R^2}{E T} \int \frac{df}{dE}\, d\ln(q a_0)^2

    Parameters
    ----------
    strength : callable
        df/dE per eV and atom of the energy loss and of the square of q.
    energy : float64 (n,)
        Energy losses, in eV.
    angle : float64 (m,)
        Largest angles, in mrad.
    beam_energy : float
        In keV.

    Returns
    -------
    float64 (n, m)
        In barn per eV and atom.
    """
    least, product, t = _momenta(beam_energy, energy)
    least, product = least[:, None], product[:, None]
    half = np.log1p(product * np.sin(angle * 1e-3 / 2) ** 2 / least) / 2
    nodes = np.log(least)[:, :, None] + half[:, :, None] * (1 + _NODES)
    values = strength(np.broadcast_to(energy[:, None, None], nodes.shape), np.exp(nodes))
    factor = 4 * math.pi * BOHR_RADIUS**2 * 1e28 * RYDBERG**2 / (energy[:, None] * t)
    return np.asarray(factor * half * (values * _WEIGHTS).sum(axis=2))


# --- hydrogenic wave functions


def _coulomb(k2: np.ndarray, numerator: float, rest: np.ndarray) -> np.ndarray:
    r"""Factor :math:`e^{-2\beta'/k}/(1 - e^{-2\pi/k})`; it goes over to the bound states where k squared is negative.

    :math:`\beta' = \arctan(n k/\mathrm{rest})`, n being the numerator, in the first two quadrants.
    """
    k = np.maximum(np.sqrt(np.abs(k2)), _SMALL)
    above = np.exp(-2 / k * np.arctan2(numerator * k, rest)) / -np.expm1(-2 * math.pi / k)
    with np.errstate(invalid="ignore", divide="ignore"):
        below = np.exp(-1 / k * np.log((rest + numerator * k) / (rest - numerator * k)))
    return np.where(k2 >= 0, above, below)


def strength_k(number: int, energy: np.ndarray, q2: np.ndarray) -> np.ndarray:
    """Oscillator strength of a K shell, per eV and atom (Egerton 2011, section 3.6.1).

    Parameters
    ----------
    number : int
        Atomic number; of hydrogen, one electron without screening, else two screened by 0.5.
    energy, q2 : float64
        Energy loss in eV, and the square of q.
    """
    screened, electrons = (number - 0.5, 2) if number > 1 else (1.0, 1)
    q = q2 / screened**2
    k2 = energy / (RYDBERG * screened**2) - 1
    rest = q - k2 + 1
    shape = (q + k2 / 3 + 1 / 3) / (rest**2 + 4 * k2) ** 3
    return np.asarray(128 * electrons * energy / (RYDBERG**2 * screened**4) * shape * _coulomb(k2, 2.0, rest))


def strength_l(number: int, energy: np.ndarray, q2: np.ndarray, with_l1: bool) -> np.ndarray:
    """Oscillator strength of an L shell, without Egerton's factor, per eV and atom (Egerton 2011, section 3.6.1).

    Parameters
    ----------
    number : int
        Atomic number.
    energy, q2 : float64
        Energy loss in eV, and the square of q.
    with_l1 : bool
        Of all eight electrons, or of the six without those of L1.
    """
    screened = number - 4.15
    q = q2 / screened**2
    k2 = energy / (RYDBERG * screened**2) - 0.25
    rest = q - k2 + 0.25
    if with_l1:
        shape = q**3 - (5 / 3 * k2 + 11 / 12) * q**2 + (k2**2 / 3 + 1.5 * k2 + 65 / 48) * q
        shape = (shape + k2**3 / 3 + 0.75 * k2**2 + 23 / 48 * k2 + 5 / 64) / (rest**2 + k2) ** 4
    else:
        shape = 2.25 * q**4 - (0.75 + 3 * k2) * q**3 + (0.59375 - 0.75 * k2 - 0.5 * k2**2) * q**2
        shape += (0.11146 + 0.85417 * k2 + 1.8833 * k2**2 + k2**3) * q
        shape += 0.0035807 + k2 / 21.333 + k2**2 / 4.5714 + k2**3 / 2.4 + k2**4 / 4
        shape = shape / (rest**2 + k2) ** 5
    return np.asarray(32 * energy / (RYDBERG**2 * screened**4) * shape * _coulomb(k2, 1.0, rest))


def l_exponent(number: int) -> float:
    """Exponent of Egerton's factor for L shells: of the excess energy plus 0.1 eV over 1.8 eV
    times the squared number.
    """
    return _L_EXPONENTS[number - 11] if number - 11 < len(_L_EXPONENTS) else 0.1


def hydrogenic(edge: Edge, energy: np.ndarray, angle: np.ndarray, beam_energy: float) -> np.ndarray:
    """Cross-section of an edge at its tabulated energy, from hydrogenic wave functions.

    Parameters
    ----------
    edge : Edge
        Which.
    energy : float64 (n,)
        Energy losses, in eV.
    angle : float64 (m,)
        Effective collection angles, in mrad.
    beam_energy : float
        In keV.

    Returns
    -------
    float64 (n, m)
        In barn per eV and atom; zero below the edge.
    """
    energy, angle = np.asarray(energy, np.float64), np.asarray(angle, np.float64)
    out = np.zeros((energy.size, angle.size))
    excess = energy - edge.onset
    for part, with_l1 in (((excess >= 0) & (excess <= edge.second), False), (excess > edge.second, True)):
        if part.any():
            out[part] = _smooth(edge, energy[part], angle, beam_energy, with_l1)
    if not edge.is_k:
        ratio = (np.maximum(excess, 0) + SHIFT) / (1.8 * edge.number**2)
        out *= (ratio ** l_exponent(edge.number))[:, None]
    return out


def _smooth(edge: Edge, energy: np.ndarray, angle: np.ndarray, beam_energy: float, with_l1: bool) -> np.ndarray:
    """Cross-section without what has kinks: edges, and the factor for L shells."""

    def strength(e: np.ndarray, q2: np.ndarray) -> np.ndarray:
        return strength_k(edge.number, e, q2) if edge.is_k else strength_l(edge.number, e, q2, with_l1)

    return integrated(strength, energy, angle, beam_energy)


# --- tables


@dataclass(frozen=True)
class EdgeTable:
    """Logarithm of a cross-section, or of a smooth part of it.

    Attributes
    ----------
    table : Table
        Over ``log(1 + excess/scale)``, excess being the energy above the edge in eV, and the logarithm of the effective
        angle in mrad.
    scale : float
        In eV.
    """

    table: Table
    scale: float

    @classmethod
    def of(cls, function: Callable[[np.ndarray, np.ndarray], np.ndarray], scale: float, last: float) -> EdgeTable:
        """Tabulate a function of excess energies (n,) up to ``last`` and angles (m,), with values (n, m)."""
        u = np.linspace(0, math.log1p(last / scale), _N_ENERGIES)
        v = np.linspace(math.log(ANGLES[0]), math.log(ANGLES[1]), _N_ANGLES)
        values = function(scale * np.expm1(u), np.exp(v))
        return cls(Table((u, v), np.log(np.maximum(values, 1e-300))), scale)

    @property
    def last(self) -> float:
        """Largest excess energy, in eV."""
        return float(self.scale * math.expm1(self.table.points[0][-1]))


def hydrogenic_tables(edge: Edge, beam_energy: float) -> tuple[EdgeTable, ...]:
    """Tabulate the smooth parts of a cross-section: one for below and, for an L edge, one for above its L1 edge."""
    last = min(_REACH * edge.onset, _MOST_LOST * 1e3 * beam_energy - edge.onset)
    kinds = (False,) if edge.is_k else (False, True)

    def part(with_l1: bool) -> EdgeTable:
        return EdgeTable.of(
            lambda excess, angle: _smooth(edge, edge.onset + excess, angle, beam_energy, with_l1),
            _LINEAR * edge.onset,
            last,
        )

    return tuple(part(with_l1) for with_l1 in kinds)


def tabulated(gos: xr.DataArray, onset: float, beam_energy: float) -> EdgeTable:
    """Tabulate the cross-section that follows from a table of oscillator strengths.

    Parameters
    ----------
    gos : DataArray
        Per eV and atom, over ``energy`` (above the edge, in eV) and ``q`` (in 1/m), both rising; see
        `xfit.components.core_loss.gos`.
    onset : float
        Energy of the edge, in eV.
    beam_energy : float
        In keV.
    """
    known = gos["energy"].values.astype(np.float64)
    last = min(float(known[-1]), _MOST_LOST * 1e3 * beam_energy - onset)
    log_q2 = 2 * np.log(gos["q"].values.astype(np.float64) * BOHR_RADIUS)
    scale = max(_LINEAR * last / _REACH, 1e-3)
    spline = scipy.interpolate.RectBivariateSpline(
        np.log1p(known / scale), log_q2, gos.transpose("energy", "q").values, kx=1, ky=1
    )

    def strength(energy: np.ndarray, q2: np.ndarray) -> np.ndarray:
        # Beyond the largest q there is next to nothing; below the smallest one it goes on as it is.
        values = spline.ev(np.log1p((energy - onset) / scale), np.log(q2))
        return np.where(np.log(q2) <= log_q2[-1], np.maximum(values, 0.0), 0.0)

    return EdgeTable.of(lambda excess, angle: integrated(strength, onset + excess, angle, beam_energy), scale, last)
