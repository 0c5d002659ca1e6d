"""lmfit 1.3: Model.fit (built-in models, own function model) with and without analytic Jacobian."""

import models
import numpy as np
from common import case, main


def _loop(d, one):
    m = d["T"].shape[1]

    def fit(idx):
        P = np.full((len(idx), m), np.nan)
        ok = np.zeros(len(idx), bool)
        for k, i in enumerate(idx):
            try:
                P[k], ok[k] = one(d["Y"][i].astype(float), d["P0"][i])
            except Exception:
                pass
        return P, ok

    return fit


def builtin_w1(d):
    from lmfit.models import GaussianModel, LinearModel

    mod = GaussianModel(prefix="a_") + GaussianModel(prefix="b_") + LinearModel()
    p = d["p0"]
    S = np.sqrt(2 * np.pi)
    pars = mod.make_params(
        a_amplitude=p[0] * p[2] * S,
        a_center=p[1],
        a_sigma=dict(value=p[2], min=-np.inf),
        b_amplitude=p[3] * p[5] * S,
        b_center=p[4],
        b_sigma=dict(value=p[5], min=-np.inf),
        intercept=p[6],
        slope=p[7],
    )
    names = ["a_amplitude", "a_center", "a_sigma", "b_amplitude", "b_center", "b_sigma", "intercept", "slope"]

    def conv(v):
        v = np.array(v)
        v[0] /= v[2] * S
        v[3] /= v[5] * S
        return v

    return mod, pars, names, conv


@case("w1", "Model_fit_builtin", n=200, note="GaussianModel+GaussianModel+LinearModel, leastsq, finite differences")
def _(d):
    mod, pars, names, conv = builtin_w1(d)
    x = d["x"]

    def one(y, p0):
        r = mod.fit(y, pars, x=x)
        return conv([r.params[n].value for n in names]), r.success

    return _loop(d, one)


def own(d, dfun=True, weighted=False, bounds=False, method="leastsq", **kw):
    import lmfit

    f, j = models.SC[d["w"]]
    X = models.X_of(d)
    names = d["names"]
    iv = "X" if d["w"].startswith("w5") else "x"
    mod = lmfit.Model(f, independent_vars=[iv])

    def mkpars(p0):
        ps = mod.make_params(**dict(zip(names, p0)))
        if bounds:
            for n, l, h in zip(names, d["lo"], d["hi"]):
                ps[n].set(min=l, max=h)
        return ps

    shared = mkpars(d["p0"]) if d["p0"].ndim == 1 else None

    def J(pars, data, weights, **k):
        jj = -j(X, *[pars[n].value for n in names])  # lmfit's residual is data - model
        return jj if weights is None else jj * weights[:, None]

    fk = dict(kw)
    if dfun:
        fk["Dfun" if method == "leastsq" else "jac"] = J

    def one(y, p0):
        w = 1 / np.sqrt(np.maximum(y, 1)) if weighted else None
        r = mod.fit(y, shared if shared is not None else mkpars(p0), weights=w, method=method, fit_kws=fk, **{iv: X})
        return np.array([r.params[n].value for n in names]), r.success

    return _loop(d, one)


@case("w1", "Model_fit_own_fd", n=300, note="one numpy function, finite differences")
def _(d):
    return own(d, dfun=False)


@case(["w1", "w5a", "w5b"], "Model_fit_own_dfun", n=300, note="one numpy function, analytic Dfun")
def _(d):
    return own(d)


@case("w1", "Model_fit_own_dfun_w", n=300, obj="w", note="weights=1/sqrt(max(y,1))")
def _(d):
    return own(d, weighted=True)


@case("w2", "Model_fit_own_dfun_b", n=200, note="bounds on (MINUIT-style transform), analytic Dfun")
def _(d):
    return own(d, bounds=True)


@case("w2", "Model_fit_own_b_lsq", n=150, note="method='least_squares' (trf), bounds on, analytic jac, x_scale='jac'")
def _(d):
    return own(d, bounds=True, method="least_squares", x_scale="jac")


@case(
    "w4",
    "minimize_lbfgsb_poisson",
    n=200,
    note="lmfit.minimize(method='lbfgsb') on the Poisson log-likelihood, bounds, no gradient",
)
def _(d):
    import lmfit

    f, j = models.SC["w4"]
    x = d["x"]
    names = d["names"]
    ps = lmfit.Parameters()
    for n, v, l, h in zip(names, d["p0"], d["lo"], d["hi"]):
        ps.add(n, v, min=l, max=h)

    def one(y, p0):
        def obj(p):
            mu = f(x, *[p[n].value for n in names])
            return (mu - y * np.log(mu)).sum()

        r = lmfit.minimize(obj, ps, method="lbfgsb", calc_covar=False)
        return np.array([r.params[n].value for n in names]), r.success

    return _loop(d, one)


if __name__ == "__main__":
    main("lmfit")
