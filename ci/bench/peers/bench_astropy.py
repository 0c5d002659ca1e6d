"""astropy.modeling: parallel_fit_dask and plain fitters."""

import models
import numpy as np
from astropy.modeling import Fittable1DModel, Fittable2DModel, Parameter
from common import case, main

P_ = lambda: Parameter(default=1.0)
SWAP_W5 = False


class OwnW1(Fittable1DModel):
    h1 = P_()
    c1 = P_()
    s1 = P_()
    h2 = P_()
    c2 = P_()
    s2 = P_()
    b0 = P_()
    b1 = P_()
    evaluate = staticmethod(models.f_w1s)

    @staticmethod
    def fit_deriv(x, *p):
        return models.j_w1s(x, *p).T


class OwnW2(Fittable1DModel):  # same parametrisation as PowerLaw1D with x_0 = 300
    A = P_()
    r = P_()
    h = P_()
    c = P_()
    s = P_()

    @staticmethod
    def evaluate(x, A, r, h, c, s):
        return A * (x / 300.0) ** -r + h * np.exp(-0.5 * ((x - c) / s) ** 2)

    @staticmethod
    def fit_deriv(x, A, r, h, c, s):
        q = (x / 300.0) ** -r
        u = (x - c) / s
        e = np.exp(-0.5 * u * u)
        t = h / s * e * u
        return [q, -A * q * np.log(x / 300.0), e, t, t * u]


class OwnW5(Fittable2DModel):
    a = P_()
    x0 = P_()
    y0 = P_()
    s = P_()
    o = P_()

    @staticmethod
    def evaluate(x, y, a, x0, y0, s, o):
        return a * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * s * s)) + o

    @staticmethod
    def fit_deriv(x, y, *p):
        return list(models.j_g2ds(np.stack([np.ravel(x), np.ravel(y)]), *p).T)


def build(d, builtin, bounds):
    from astropy.modeling import models as am

    p = d["p0"]
    bd = lambda k: (d["lo"][k], d["hi"][k])
    if builtin:
        if d["w"] == "w1":
            m = (
                am.Gaussian1D(p[0], p[1], p[2])
                + am.Gaussian1D(p[3], p[4], p[5])
                + am.Linear1D(slope=p[7], intercept=p[6])
            )
            if not bounds:
                m.stddev_0.bounds = m.stddev_1.bounds = (None, None)
            names = ["amplitude_0", "mean_0", "stddev_0", "amplitude_1", "mean_1", "stddev_1", "intercept_2", "slope_2"]
        elif d["w"] == "w2":
            m = am.PowerLaw1D(
                amplitude=p[0] * 300.0 ** -p[1], x_0=300.0, alpha=p[1], fixed=dict(x_0=True)
            ) + am.Gaussian1D(p[2], p[3], p[4])
            m.alpha_0.bounds = bd(1)
            m.amplitude_0.bounds = (0, None)
            m.amplitude_1.bounds = (0, None)
            m.mean_1.bounds = bd(3)
            m.stddev_1.bounds = bd(4)
            names = ["amplitude_0", "alpha_0", "amplitude_1", "mean_1", "stddev_1"]
        return m, names
    names = d["names"]
    if d["w"] == "w2":
        m = OwnW2(p[0] * 300.0 ** -p[1], *p[1:])
        if bounds:
            for k, n in enumerate(names):
                getattr(m, n).bounds = (0, None) if k in (0, 2) else bd(k)
        return m, names
    if d["w"] == "w1":
        return OwnW1(*p), names
    return OwnW5(), names


def run(
    d,
    fitter="LevMarLSQFitter",
    builtin=True,
    bounds=False,
    weighted=False,
    scheduler="synchronous",
    plain=False,
    chunk=500,
):
    import astropy.modeling.fitting as af

    m, names = build(d, builtin, bounds)
    mk = lambda: getattr(af, fitter)()
    two = d["w"].startswith("w5")

    def back(P):
        if d["w"] == "w2":
            P = P.copy()
            P[:, 0] *= 300.0 ** P[:, 1]
        return P

    def fit(idx):
        Y = d["Y"][idx].astype(float)
        W = 1 / np.sqrt(np.maximum(Y, 1)) if weighted else None
        if plain:
            ft = mk()
            P = np.empty((len(idx), len(names)))
            ok = np.zeros(len(idx), bool)
            for k in range(len(idx)):
                mm = m.copy()
                r = ft(mm, d["x"], Y[k], weights=None if W is None else W[k], inplace=True)
                P[k] = [getattr(r, n).value for n in names]
                ok[k] = ft.fit_info.get("ierr", 1) in (1, 2, 3, 4)
            return back(P), ok
        mm = m.copy()
        if two:
            n = d["x"].size
            Yd = Y.reshape(-1, n, n)
            fa = (1, 2)
            mm = type(m)(*[d["P0"][idx, k] for k in range(len(names))])
            world = (d["x"], d["x"])  # order of the fitting axes (y, x); the model is symmetric: swapped below
        else:
            Yd = Y
            fa = 1
            world = (d["x"],)
        r = af.parallel_fit_dask(
            model=mm,
            fitter=mk(),
            data=Yd,
            weights=W,
            fitting_axes=fa,
            world=world,
            chunk_n_max=chunk,
            scheduler=scheduler,
            fitter_kwargs=None,
        )
        P = np.stack([np.broadcast_to(np.asarray(getattr(r, n).value), (len(idx),)) for n in names], -1)
        if two:
            P = P[:, [0, 2, 1, 3, 4]] if SWAP_W5 else P
        return back(P), np.isfinite(P).all(1)

    return fit


@case(
    "w1",
    "pfd_LevMar_compound",
    n=200,
    note="parallel_fit_dask(synchronous), compound model (no fit_deriv -> numerical)",
)
def _(d):
    return run(d)


@case("w1", "pfd_TRF_compound", n=200)
def _(d):
    return run(d, "TRFLSQFitter")


@case("w1", "pfd_LevMar_own", n=300, note="custom Fittable1DModel with fit_deriv")
def _(d):
    return run(d, builtin=False)


@case("w1", "pfd_TRF_own", n=300, note="custom Fittable1DModel with fit_deriv")
def _(d):
    return run(d, "TRFLSQFitter", builtin=False)


@case("w1", "pfd_LMLSQ_own", n=300, note="LMLSQFitter, custom model with fit_deriv")
def _(d):
    return run(d, "LMLSQFitter", builtin=False)


@case("w1", "pfd_LevMar_own_w", n=300, obj="w")
def _(d):
    return run(d, builtin=False, weighted=True)


@case("w1", "pfd_TRF_own_procs2", n=1000, cores=2, note="scheduler='processes', 2 cores, pool start included")
def _(d):
    return run(d, "TRFLSQFitter", builtin=False, scheduler="processes", chunk=250)


@case("w1", "fitter_LevMar_own_loop", n=300, note="plain Python loop over pixels, inplace=True")
def _(d):
    return run(d, builtin=False, plain=True)


@case("w2", "pfd_TRF_compound_b", n=150, note="bounds on, compound model")
def _(d):
    return run(d, "TRFLSQFitter", bounds=True)


@case("w2", "pfd_TRF_own_b", n=150, note="bounds on, custom model with fit_deriv")
def _(d):
    return run(d, "TRFLSQFitter", builtin=False, bounds=True)


@case("w2", "pfd_LevMar_own_b", n=150, note="bounds on (LevMar clips), custom model with fit_deriv")
def _(d):
    return run(d, builtin=False, bounds=True)


@case(["w5a", "w5b"], "pfd_LevMar_own", n=500, note="custom Fittable2DModel with fit_deriv")
def _(d):
    return run(d, builtin=False)


if __name__ == "__main__":
    main("astropy")
