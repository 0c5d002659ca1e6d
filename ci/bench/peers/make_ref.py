"""Reference optimum of every objective, from the true values, at tight tolerance (float64).
Writes data/<w>_ref.npz with <obj>_p [n,npar], <obj>_s [n,npar] (1 sigma), <obj>_c [n] (objective).  obj: ls, w, mle
"""

import sys
import time

import datagen
import models
import numpy as np
from scipy.optimize import leastsq

OBJ = dict(
    w1=["ls", "w"], w2=["ls", "w"], w3=["ls", "w"], w4=["mle"], w5a=["ls"], w5b=["ls"], w5c=["ls"], w6=["ls", "w"]
)


def ref_lsq(d, weighted):
    f, j = models.SC[d["w"]]
    X = models.X_of(d)
    n, m = d["T"].shape
    P = np.empty((n, m))
    S = np.empty((n, m))
    C = np.empty(n)
    for i in range(n):
        y = d["Y"][i].astype(float)
        sw = 1 / np.sqrt(np.maximum(y, 1)) if weighted else None

        def r(p):
            v = f(X, *p) - y
            return v * sw if weighted else v

        def J(p):
            v = j(X, *p)
            return v * sw[:, None] if weighted else v

        p, ier = leastsq(r, d["T"][i], Dfun=J, ftol=1e-15, xtol=1e-13, gtol=0, maxfev=500)[:2]
        JJ = J(p)
        A = JJ.T @ JJ
        dd = np.sqrt(np.diag(A))
        # one polishing Gauss-Newton step (scaled)
        st = np.linalg.solve(A / np.outer(dd, dd), -(JJ.T @ r(p)) / dd) / dd
        c0 = (r(p) ** 2).sum()
        c1 = (r(p + st) ** 2).sum()
        if c1 < c0:
            p = p + st
            c0 = c1
        cov = np.linalg.inv(A / np.outer(dd, dd)) / np.outer(dd, dd)
        if not weighted:
            cov = cov * c0 / (y.size - m)
        P[i] = p
        S[i] = np.sqrt(np.diag(cov))
        C[i] = c0
    return P, S, C


def ref_mle(d):
    f, j = models.SC[d["w"]]
    X = models.X_of(d)
    n, m = d["T"].shape
    P = np.empty((n, m))
    S = np.empty((n, m))
    C = np.empty(n)

    def nll(p, y):
        mu = f(X, *p)
        return np.inf if (mu <= 0).any() else (mu - y * np.log(mu)).sum()

    for i in range(n):
        y = d["Y"][i].astype(float)
        p = d["T"][i].copy()
        c = nll(p, y)
        lam = 0
        for it in range(200):
            mu = f(X, *p)
            J = j(X, *p)
            gr = J.T @ (1 - y / mu)
            H = (J / mu[:, None]).T @ J
            st = np.linalg.solve(H + lam * np.diag(np.diag(H)), -gr)
            cn = nll(p + st, y)
            if cn <= c:
                done = abs(st / np.sqrt(np.diag(np.linalg.inv(H)))).max() < 1e-9
                p = p + st
                c = cn
                lam *= 0.1
                if done:
                    break
            else:
                lam = max(10 * lam, 1e-3)
                if lam > 1e8:
                    break
        mu = f(X, *p)
        J = j(X, *p)
        P[i] = p
        S[i] = np.sqrt(np.diag(np.linalg.inv((J / mu[:, None]).T @ J)))
        C[i] = c
    return P, S, C


def ref_lin(d, weighted):
    D = models.design_w3(d["x"]).T
    if not weighted:
        P = np.linalg.lstsq(D, d["Y"].T.astype(float), rcond=None)[0].T
        Y = d["Y"]
        C = np.array([((Y[k : k + 4096] - P[k : k + 4096] @ D.T) ** 2).sum(1) for k in range(0, len(Y), 4096)]).ravel()
        S = np.sqrt(np.diag(np.linalg.inv(D.T @ D)))[None] * np.sqrt(C / (D.shape[0] - 9))[:, None]
    else:
        P = np.empty_like(d["T"])
        S = np.empty_like(P)
        C = np.empty(len(P))
        for i in range(len(P)):
            w = 1 / np.maximum(d["Y"][i].astype(float), 1)
            A = (D * w[:, None]).T @ D
            P[i] = np.linalg.solve(A, D.T @ (w * d["Y"][i]))
            S[i] = np.sqrt(np.diag(np.linalg.inv(A)))
            C[i] = (w * (d["Y"][i] - D @ P[i]) ** 2).sum()
    return P, S, C


for w in sys.argv[1:] or list(OBJ):
    d = datagen.load(w)
    out = {}
    for o in OBJ[w]:
        t = time.time()
        P, S, C = ref_lin(d, o == "w") if w == "w3" else ref_mle(d) if o == "mle" else ref_lsq(d, o == "w")
        if w == "w5c":  # angle/width symmetry is handled in common.canon
            pass
        out.update({o + "_p": P, o + "_s": S, o + "_c": C})
        z = (P - d["T"]) / S
        print(
            w,
            o,
            f"{time.time() - t:.1f}s  med rel err {np.nanmedian(abs(P - d['T']) / abs(d['T'])):.3e}",
            "rms z per param",
            np.round(np.sqrt(np.nanmedian(z**2, 0)) / 0.6745, 2),
            "nan",
            np.isnan(P).any(1).sum(),
            "|z|>8:",
            (abs(z) > 8).any(1).sum(),
            "outside bounds:",
            ((d["lo"] > P) | (d["hi"] < P)).any(1).sum(),
            flush=True,
        )
    np.savez(f"{datagen.DATA}/{w}_ref.npz", **out)
