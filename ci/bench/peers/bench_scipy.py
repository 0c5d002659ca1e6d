"""scipy / numpy: curve_fit, leastsq, least_squares, minimize with analytic Jacobians; and
MINPACK with numba kernels.
"""

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


def _curve_fit(d, method, jac=True, weighted=False, bounds=False, **kw):
    from scipy.optimize import curve_fit

    f, j = models.SC[d["w"]]
    X = models.X_of(d)
    b = (d["lo"], d["hi"]) if bounds else (-np.inf, np.inf)
    if method != "lm":
        kw.setdefault("x_scale", "jac")

    def one(y, p0):
        s = np.sqrt(np.maximum(y, 1)) if weighted else None
        p, cov = curve_fit(
            f,
            X,
            y,
            p0,
            sigma=s,
            absolute_sigma=weighted,
            jac=j if jac else None,
            method=method,
            bounds=b,
            check_finite=False,
            **kw,
        )
        return p, np.isfinite(cov).all()

    return _loop(d, one)


W15 = ["w1", "w5a", "w5b", "w5c"]
NS = 2000


@case(W15 + ["w2"], "curve_fit_lm", n=NS)
def _(d):
    return _curve_fit(d, "lm")


@case("w1", "curve_fit_lm_fd", n=NS, note="no Jacobian given (finite differences)")
def _(d):
    return _curve_fit(d, "lm", jac=False)


@case("w1", "curve_fit_lm_w", n=NS, obj="w")
def _(d):
    return _curve_fit(d, "lm", weighted=True)


@case(["w1", "w5b"], "curve_fit_trf", n=1000)
def _(d):
    return _curve_fit(d, "trf")


@case("w2", "curve_fit_trf_b", n=1000, note="bounds on, x_scale='jac'")
def _(d):
    return _curve_fit(d, "trf", bounds=True)


@case("w2", "curve_fit_trf_b_noscale", n=300, note="bounds on, x_scale=1 (scipy default is jac for lm only)")
def _(d):
    return _curve_fit(d, "trf", bounds=True, x_scale=1.0)


def _leastsq(d, weighted=False):
    from scipy.optimize import leastsq

    f, j = models.SC[d["w"]]
    X = models.X_of(d)
    if not weighted:

        def one(y, p0):
            p, ier = leastsq(lambda p: f(X, *p) - y, p0, Dfun=lambda p: j(X, *p))
            return p, ier in (1, 2, 3, 4)
    else:

        def one(y, p0):
            w = 1 / np.sqrt(np.maximum(y, 1))
            wc = w[:, None]
            p, ier = leastsq(lambda p: (f(X, *p) - y) * w, p0, Dfun=lambda p: j(X, *p) * wc)
            return p, ier in (1, 2, 3, 4)

    return _loop(d, one)


@case(W15 + ["w2"], "leastsq", n=NS, note="no covariance")
def _(d):
    return _leastsq(d)


@case("w1", "leastsq_w", n=NS, obj="w", note="no covariance")
def _(d):
    return _leastsq(d, True)


def _least_squares(d, method, bounds=False):
    from scipy.optimize import least_squares

    f, j = models.SC[d["w"]]
    X = models.X_of(d)
    b = (d["lo"], d["hi"]) if bounds else (-np.inf, np.inf)

    def one(y, p0):
        r = least_squares(lambda p: f(X, *p) - y, p0, jac=lambda p: j(X, *p), method=method, x_scale="jac", bounds=b)
        return r.x, r.success

    return _loop(d, one)


@case("w1", "least_squares_lm", n=1000)
def _(d):
    return _least_squares(d, "lm")


@case("w1", "least_squares_trf", n=1000)
def _(d):
    return _least_squares(d, "trf")


@case("w2", "least_squares_trf_b", n=1000)
def _(d):
    return _least_squares(d, "trf", True)


# ---- MINPACK + numba kernels (what an expert would write by hand)
def _numba_leastsq(d, fm=False):
    import math

    import numba as nb
    from scipy.optimize import leastsq

    w = d["w"]
    X = models.X_of(d)
    jit = nb.njit(cache=True, fastmath=fm)
    if w == "w1":

        @jit
        def R(p, x, y, r):
            for i in range(x.size):
                u = (x[i] - p[1]) / p[2]
                v = (x[i] - p[4]) / p[5]
                r[i] = p[0] * math.exp(-0.5 * u * u) + p[3] * math.exp(-0.5 * v * v) + p[6] + p[7] * x[i] - y[i]

        @jit
        def J(p, x, jt):
            for i in range(x.size):
                u = (x[i] - p[1]) / p[2]
                e = math.exp(-0.5 * u * u)
                t = p[0] / p[2] * e * u
                jt[0, i] = e
                jt[1, i] = t
                jt[2, i] = t * u
                u = (x[i] - p[4]) / p[5]
                e = math.exp(-0.5 * u * u)
                t = p[3] / p[5] * e * u
                jt[3, i] = e
                jt[4, i] = t
                jt[5, i] = t * u
                jt[6, i] = 1.0
                jt[7, i] = x[i]
    else:

        @jit
        def R(p, X, y, r):
            g = -0.5 / (p[3] * p[3])
            for i in range(y.size):
                a = X[0, i] - p[1]
                b = X[1, i] - p[2]
                r[i] = p[0] * math.exp(g * (a * a + b * b)) + p[4] - y[i]

        @jit
        def J(p, X, jt):
            s2 = p[3] * p[3]
            g = -0.5 / s2
            for i in range(X.shape[1]):
                a = X[0, i] - p[1]
                b = X[1, i] - p[2]
                q = a * a + b * b
                e = math.exp(g * q)
                t = e * p[0] / s2
                jt[0, i] = e
                jt[1, i] = t * a
                jt[2, i] = t * b
                jt[3, i] = t * q / p[3]
                jt[4, i] = 1.0

    npt = d["Y"].shape[1]
    m = d["T"].shape[1]
    r = np.empty(npt)
    jt = np.empty((m, npt))

    def one(y, p0):
        def fr(p):
            R(p, X, y, r)
            return r.copy()

        def fj(p):
            J(p, X, jt)
            return jt

        p, ier = leastsq(fr, p0, Dfun=fj, col_deriv=True)
        return p, ier in (1, 2, 3, 4)

    return _loop(d, one)


@case(["w1", "w5a", "w5b"], "leastsq_numba", n=NS, note="numba residual + Jacobian kernels, no SVML")
def _(d):
    return _numba_leastsq(d)


@case(["w1"], "leastsq_numba_fm", n=NS, note="same, fastmath=True")
def _(d):
    return _numba_leastsq(d, True)


# ---- W3
@case("w3", "numpy_lstsq", warm=64, note="np.linalg.lstsq on all pixels at once")
def _(d):
    D = np.ascontiguousarray(models.design_w3(d["x"]).T)

    def fit(idx):
        return np.linalg.lstsq(D, d["Y"][idx].T.astype(float), rcond=None)[0].T, None

    return fit


@case("w3", "pinv_matmul_f8", warm=64, note="ceiling: precomputed pseudo-inverse, float64 gemm in blocks, no errors")
def _(d):
    Pi = np.linalg.pinv(models.design_w3(d["x"]).T).T.copy()

    def fit(idx):
        P = np.empty((len(idx), 9))
        for k in range(0, len(idx), 512):
            P[k : k + 512] = d["Y"][idx[k : k + 512]].astype(float) @ Pi
        return P, None

    return fit


@case("w3", "pinv_matmul_f4", warm=64, dtype="f4", note="ceiling: precomputed pseudo-inverse, float32 gemm in blocks")
def _(d):
    Pi = np.linalg.pinv(models.design_w3(d["x"]).T).T.astype(np.float32).copy()

    def fit(idx):
        P = np.empty((len(idx), 9))
        for k in range(0, len(idx), 512):
            P[k : k + 512] = d["Y"][idx[k : k + 512]] @ Pi
        return P, None

    return fit


@case("w3", "pinv_matmul_f8_err", warm=64, note="as pinv_matmul_f8 plus chi2 and parameter standard errors")
def _(d):
    D = models.design_w3(d["x"])
    Pi = np.linalg.pinv(D.T).T.copy()
    sd = np.sqrt(np.diag(np.linalg.inv(D @ D.T)))

    def fit(idx):
        P = np.empty((len(idx), 9))
        E = np.empty_like(P)
        for k in range(0, len(idx), 512):
            y = d["Y"][idx[k : k + 512]].astype(float)
            p = y @ Pi
            y -= p @ D
            P[k : k + 512] = p
            E[k : k + 512] = np.sqrt(np.einsum("ij,ij->i", y, y) / (y.shape[1] - 9))[:, None] * sd
        return P, None

    return fit


@case(
    "w3",
    "weighted_normal_eq",
    obj="w",
    n=8192,
    warm=64,
    note="per-pixel weights: batched normal equations (gemm on D*D products) + batched solve",
)
def _(d):
    D = models.design_w3(d["x"]).T
    iu = np.triu_indices(9)
    DD = np.ascontiguousarray(D[:, iu[0]] * D[:, iu[1]])

    def fit(idx):
        P = np.empty((len(idx), 9))
        for k in range(0, len(idx), 512):
            y = d["Y"][idx[k : k + 512]].astype(float)
            w = 1 / np.maximum(y, 1)
            a = w @ DD
            A = np.empty((len(y), 9, 9))
            A[:, iu[0], iu[1]] = a
            A[:, iu[1], iu[0]] = a
            P[k : k + 512] = np.linalg.solve(A, ((w * y) @ D)[..., None])[..., 0]
        return P, None

    return fit


# ---- W4
def _w4(d, how):
    from scipy.optimize import leastsq, minimize

    x = d["x"]
    f, j = models.SC["w4"]
    b = list(zip(d["lo"], d["hi"]))

    def one_min(y, p0):
        def fg(p):
            mu = f(x, *p)
            return (mu - y * np.log(mu)).sum(), j(x, *p).T @ (1 - y / mu)

        r = minimize(fg, p0, jac=True, method="L-BFGS-B", bounds=b, options=dict(ftol=1e-12, gtol=1e-6, maxiter=500))
        return r.x, r.success

    def one_te(y, p0):
        def fg(p):
            mu = f(x, *p)
            if mu.min() <= 0:
                return np.inf, p * 0
            return (mu - y * np.log(mu)).sum(), j(x, *p).T @ (1 - y / mu)

        def h(p):
            J = j(x, *p)
            return (J.T / f(x, *p)) @ J

        r = minimize(fg, p0, jac=True, hess=h, method="trust-exact", options=dict(gtol=1e-4))
        return r.x, r.success

    def one_dev(y, p0):
        ly = np.where(y > 0, y, 1.0)

        def res(p):
            mu = np.maximum(f(x, *p), 1e-9)
            return np.sign(mu - y) * np.sqrt(2 * np.maximum(mu - y + y * np.log(ly / mu), 0)) + 1e-300

        def jac(p):
            mu = np.maximum(f(x, *p), 1e-9)
            r = res(p)
            g = (1 - y / mu) / np.where(abs(r) > 1e-6, r, np.inf)
            g = np.where(abs(r) > 1e-6, g, 1 / np.sqrt(mu))
            return j(x, *p) * g[:, None]

        p, ier = leastsq(res, p0, Dfun=jac)
        return p, ier in (1, 2, 3, 4)

    return _loop(d, dict(lbfgsb=one_min, trust=one_te, dev=one_dev)[how])


@case("w4", "min_lbfgsb", n=NS, note="analytic gradient, bounds")
def _(d):
    return _w4(d, "lbfgsb")


@case("w4", "min_trust_exact_fisher", n=NS, note="analytic gradient + Fisher Hessian")
def _(d):
    return _w4(d, "trust")


@case("w4", "leastsq_deviance", n=NS, note="MINPACK lm on signed deviance residuals, analytic Jacobian")
def _(d):
    return _w4(d, "dev")


if __name__ == "__main__":
    main("scipy")
