"""HyperSpy 2.5 multifit / lstsq / ML-poisson / Model2D."""

import warnings

import numpy as np
from common import case, main

SQ2PI = np.sqrt(2 * np.pi)


def _hs():
    import hyperspy.api as hs

    hs.set_log_level("CRITICAL")
    hs.preferences.General.show_progressbar = False
    warnings.simplefilter("ignore")
    return hs


def sig1d(hs, d, y, weighted=False):
    s = hs.signals.Signal1D(y.astype(np.float64))
    ax = s.axes_manager[-1]
    ax.scale = float(d["x"][1] - d["x"][0])
    ax.offset = float(d["x"][0])
    if weighted:
        s.set_noise_variance(hs.signals.Signal1D(np.maximum(y, 1).astype(np.float64)))
    return s


def get(m, pars):
    """Stack maps -> [npix, npar]"""
    return np.stack([np.asarray(p.map["values"]).reshape(-1) for p in pars], -1)


def setp(p, v, lo=None, hi=None):
    p.value = float(v)
    if lo is not None and np.isfinite(lo):
        p.bmin = float(lo)
    if hi is not None and np.isfinite(hi):
        p.bmax = float(hi)


def make_line():
    """A hand-written straight line: the stock Polynomial's constant derivative goes through np.vectorize (slow)"""
    from hyperspy.component import Component

    class Line(Component):
        def __init__(self):
            Component.__init__(self, ("a0", "a1"), linear_parameters=["a0", "a1"])
            self.a0.grad = self.grad_a0
            self.a1.grad = self.grad_a1

        def function(self, x):
            return self.a0.value + self.a1.value * x

        def grad_a0(self, x):
            return np.ones_like(x)

        def grad_a1(self, x):
            return x

    return Line()


def model_w1(hs, s, d, bounds=False, line=False):
    m = s.create_model()
    C = hs.model.components1D
    g1, g2, b = C.Gaussian(), C.Gaussian(), (make_line() if line else C.Polynomial(order=1))
    m.extend([g1, g2, b])
    p = d["p0"]
    for g, k in ((g1, 0), (g2, 3)):
        setp(g.A, p[k] * p[k + 2] * SQ2PI, 0 if bounds else None)
        setp(g.centre, p[k + 1], 0 if bounds else None, 10.24 if bounds else None)
        setp(g.sigma, p[k + 2], 0.02 if bounds else None, 5 if bounds else None)
    if not bounds:
        g1.A.bmin = g2.A.bmin = None
    setp(b.a0, p[6])
    setp(b.a1, p[7])
    pars = [g1.A, g1.centre, g1.sigma, g2.A, g2.centre, g2.sigma, b.a0, b.a1]

    def out():
        P = get(m, pars)
        P[:, 0] /= P[:, 2] * SQ2PI
        P[:, 3] /= P[:, 5] * SQ2PI
        return P

    return m, out


def run_w1(d, weighted=False, bounds=False, chain=None, line=False, **kw):
    hs = _hs()

    def fit(idx):
        y = d["Y"][idx]
        if chain:
            y = y[np.argsort(idx)].reshape(-1, 64, d["Y"].shape[1]) if len(idx) % 64 == 0 and len(idx) > 64 else y
        s = sig1d(hs, d, y, weighted)
        m, out = model_w1(hs, s, d, bounds, line)
        if chain:
            kw["iterpath"] = chain
        else:
            m.assign_current_values_to_all()
        with np.errstate(all="ignore"):
            m.multifit(bounded=bounds, **kw)
        P = out()
        if chain and y.ndim == 3:
            Q = np.empty_like(P)
            Q[np.argsort(idx)] = P
            P = Q
        return P, None

    return fit


@case("w1", "lm_analytic", n=1500, note="multifit(optimizer='lm', grad='analytical'), same start at every pixel")
def _(d):
    return run_w1(d, optimizer="lm", grad="analytical")


@case(
    "w1",
    "lm_analytic_ownline",
    n=1500,
    note="as lm_analytic, but a hand-written line component instead of Polynomial(order=1): expert's workaround",
)
def _(d):
    return run_w1(d, line=True, optimizer="lm", grad="analytical")


@case("w1", "lm_analytic_ownline_w", n=800, obj="w", note="same, weighted")
def _(d):
    return run_w1(d, True, line=True, optimizer="lm", grad="analytical")


@case("w1", "trf_b_ownline", n=500, note="bounds on, x_scale='jac', hand-written line")
def _(d):
    return run_w1(d, bounds=True, line=True, optimizer="trf", grad="analytical", x_scale="jac")


@case("w1", "lm_ownline_serpentine", note="whole 64x64 map in serpentine order, hand-written line", reps=1)
def _(d):
    return run_w1(d, chain="serpentine", line=True, optimizer="lm", grad="analytical")


@case("w1", "lm_fd", n=800, note="multifit() defaults (grad='fd')")
def _(d):
    return run_w1(d, optimizer="lm")


@case("w1", "lm_analytic_w", n=800, obj="w", note="Poisson variance set as signal noise variance")
def _(d):
    return run_w1(d, True, optimizer="lm", grad="analytical")


@case(
    "w1",
    "lm_analytic_serpentine",
    note="whole 64x64 map, each pixel started from the previous one (iterpath='serpentine')",
    reps=1,
)
def _(d):
    return run_w1(d, chain="serpentine", optimizer="lm", grad="analytical")


@case("w1", "trf_b_analytic", n=500, note="bounds on, x_scale='jac'")
def _(d):
    return run_w1(d, bounds=True, optimizer="trf", grad="analytical", x_scale="jac")


@case("w1", "lm_b_mpfit_analytic", n=300, note="bounds on -> bundled mpfit")
def _(d):
    return run_w1(d, bounds=True, optimizer="lm", grad="analytical")


def run_w2(d, guess=False, **kw):
    hs = _hs()

    def fit(idx):
        s = sig1d(hs, d, d["Y"][idx])
        m = s.create_model()
        C = hs.model.components1D
        pl, g = C.PowerLaw(), C.Gaussian()
        m.extend([pl, g])
        p, lo, hi = d["p0"], d["lo"], d["hi"]
        setp(pl.A, p[0], lo[0], hi[0])
        setp(pl.r, p[1], lo[1], hi[1])
        pl.origin.free = False
        setp(g.A, p[2] * p[4] * SQ2PI, 0, 1e7)
        setp(g.centre, p[3], lo[3], hi[3])
        setp(g.sigma, p[4], lo[4], hi[4])
        m.assign_current_values_to_all()
        with np.errstate(all="ignore"):
            m.multifit(**kw)
        P = get(m, [pl.A, pl.r, g.A, g.centre, g.sigma])
        P[:, 2] /= P[:, 4] * SQ2PI
        return P, None

    return fit


@case("w2", "trf_b_analytic", n=300, note="bounds on, x_scale='jac'")
def _(d):
    return run_w2(d, optimizer="trf", grad="analytical", bounded=True, x_scale="jac")


@case("w2", "trf_b_analytic_noscale", n=200, note="bounds on, default x_scale")
def _(d):
    return run_w2(d, optimizer="trf", grad="analytical", bounded=True)


@case("w2", "trf_b_fd", n=200, note="bounds on, default finite differences, default x_scale")
def _(d):
    return run_w2(d, optimizer="trf", bounded=True)


@case("w2", "lm_b_mpfit_analytic", n=200, note="bounds on -> bundled mpfit")
def _(d):
    return run_w2(d, optimizer="lm", grad="analytical", bounded=True)


@case("w2", "lm_analytic", n=500, note="bounds off")
def _(d):
    return run_w2(d, optimizer="lm", grad="analytical")


def run_w3(d, weighted=False, lazy=False, **kw):
    hs = _hs()
    from datagen import W3C, W3S

    C = hs.model.components1D

    def fit(idx):
        y = d["Y"][idx]
        if not weighted and len(idx) == d["n"]:
            y = d["y"]  # the map as it is (float32)
        s = hs.signals.Signal1D(y)
        ax = s.axes_manager[-1]
        ax.scale = 0.01
        if weighted:
            s.set_noise_variance(hs.signals.Signal1D(np.maximum(y, 1)))
        if lazy:
            s = s.as_lazy()
            s.rechunk(nav_chunks=(32, 32)) if y.ndim == 3 else None
        m = s.create_model()
        gs = []
        for c, w in zip(W3C, W3S):
            g = C.Gaussian(A=100.0, centre=c, sigma=w)
            g.centre.free = g.sigma.free = False
            g.A.bmin = None
            gs.append(g)
        b = C.Polynomial(order=2)
        m.extend(gs + [b])
        m.multifit(optimizer="lstsq", **kw)
        P = get(m, [g.A for g in gs] + [b.a0, b.a1, b.a2])
        P[:, :6] /= W3S * SQ2PI
        if y.ndim == 3:
            P = P[idx]
        return P, None

    return fit


@case("w3", "lstsq", warm=64, reps=2, note="multifit(optimizer='lstsq'), vectorised, no errors")
def _(d):
    return run_w3(d)


@case("w3", "lstsq_err", warm=64, reps=2, note="with calculate_errors=True")
def _(d):
    return run_w3(d, calculate_errors=True)


@case("w3", "lstsq_lazy", warm=0, reps=2, note="lazy signal, 32x32 chunks, one core; nav_chunks as the zarr")
def _(d):
    return run_w3(d, lazy=True)


@case("w3", "lstsq_w", n=500, obj="w", note="Poisson variance: falls back to pixel-by-pixel")
def _(d):
    return run_w3(d, weighted=True)


@case("w3", "nnls", n=2000, warm=64, note="needs scikit-learn")
def _(d):
    hs = _hs()
    from datagen import W3C, W3S

    C = hs.model.components1D

    def fit(idx):
        s = hs.signals.Signal1D(d["Y"][idx])
        s.axes_manager[-1].scale = 0.01
        m = s.create_model()
        gs = []
        for c, w in zip(W3C, W3S):
            g = C.Gaussian(A=100.0, centre=c, sigma=w)
            g.centre.free = g.sigma.free = False
            gs.append(g)
        b = C.Polynomial(order=2)
        m.extend(gs + [b])
        m.multifit(optimizer="nnls")
        P = get(m, [g.A for g in gs] + [b.a0, b.a1, b.a2])
        P[:, :6] /= W3S * SQ2PI
        return P, None

    return fit


def run_w4(d, **kw):
    hs = _hs()

    def fit(idx):
        s = sig1d(hs, d, d["Y"][idx])
        m = s.create_model()
        C = hs.model.components1D
        g, o = C.Gaussian(), C.Offset()
        m.extend([g, o])
        p, lo, hi = d["p0"], d["lo"], d["hi"]
        setp(g.A, p[0] * p[2] * SQ2PI, 1e-2, 1e4)
        setp(g.centre, p[1], lo[1], hi[1])
        setp(g.sigma, p[2], lo[2], hi[2])
        setp(o.offset, p[3], lo[3], hi[3])
        m.assign_current_values_to_all()
        with np.errstate(all="ignore"):
            m.multifit(loss_function="ML-poisson", **kw)
        P = get(m, [g.A, g.centre, g.sigma, o.offset])
        P[:, 0] /= P[:, 2] * SQ2PI
        return P, None

    return fit


@case("w4", "mlpoisson_lbfgsb_analytic", n=500, note="bounded=True, grad='analytical', incl. Fisher errors")
def _(d):
    return run_w4(d, optimizer="L-BFGS-B", grad="analytical", bounded=True)


@case("w4", "mlpoisson_nelder_mead", n=300, note="as the user guide shows it")
def _(d):
    return run_w4(d, optimizer="Nelder-Mead")


@case("w4", "mlpoisson_trust_constr", n=60, note="bounded=True, analytical")
def _(d):
    return run_w4(d, optimizer="trust-constr", grad="analytical", bounded=True)


def run_w5(d, **kw):
    hs = _hs()
    n = d["x"].size
    w = d["w"]
    expr = (
        "o + a*exp(-((x-x0)**2+(y-y0)**2)/(2*s**2))"
        if w != "w5c"
        else "o + a*exp(-0.5*((((x-x0)*cos(th)-(y-y0)*sin(th))/sx)**2+(((x-x0)*sin(th)+(y-y0)*cos(th))/sy)**2))"
    )

    def fit(idx):
        s = hs.signals.Signal2D(d["Y"][idx].reshape(-1, n, n).astype(float))
        m = s.create_model()
        g = hs.model.components2D.Expression(expr, name="g", position=("x0", "y0"), module="numpy")
        m.append(g)
        pars = [getattr(g, k) for k in d["names"]]
        for k, p in enumerate(pars):
            p.map["values"][:] = d["P0"][idx, k]
            p.map["is_set"][:] = True
        with np.errstate(all="ignore"):
            m.multifit(**kw)
        return get(m, pars), None

    return fit


@case(
    ["w5a", "w5b", "w5c"], "lm_fd", n=500, note="Model2D has no analytical gradient; per-patch start values set as maps"
)
def _(d):
    return run_w5(d, optimizer="lm")


if __name__ == "__main__":
    main("hyperspy")
