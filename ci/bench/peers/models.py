"""numpy model functions f(x, p[..., npar]) -> [..., nch] and Jacobians J(x, p[npar]) -> [nch, npar] (contiguous)."""

import numpy as np

W3C = np.array([1.0, 2.3, 3.1, 4.6, 6.2, 8.0])
W3S = np.array([0.15, 0.18, 0.2, 0.25, 0.3, 0.35])


def g(x, h, c, s):
    return h * np.exp(-0.5 * ((x - c) / s) ** 2)


def _sp(p):
    return [p[..., i, None] for i in range(p.shape[-1])]


# ---- W1: h1 c1 s1 h2 c2 s2 b0 b1
def f_w1(x, p):
    h1, c1, s1, h2, c2, s2, b0, b1 = _sp(np.asarray(p))
    return g(x, h1, c1, s1) + g(x, h2, c2, s2) + b0 + b1 * x


def f_w1s(x, h1, c1, s1, h2, c2, s2, b0, b1):  # scalar-parameter form
    return h1 * np.exp(-0.5 * ((x - c1) / s1) ** 2) + h2 * np.exp(-0.5 * ((x - c2) / s2) ** 2) + b0 + b1 * x


def j_w1s(x, h1, c1, s1, h2, c2, s2, b0, b1):
    J = np.empty((x.size, 8))
    for k, (h, c, s) in ((0, (h1, c1, s1)), (3, (h2, c2, s2))):
        u = (x - c) / s
        e = np.exp(-0.5 * u * u)
        J[:, k] = e
        t = (h / s) * e * u
        J[:, k + 1] = t
        J[:, k + 2] = t * u
    J[:, 6] = 1
    J[:, 7] = x
    return J


# ---- W2: A r h c s
def f_w2(x, p):
    A, r, h, c, s = _sp(np.asarray(p))
    return A * x**-r + g(x, h, c, s)


def f_w2s(x, A, r, h, c, s):
    return A * x**-r + h * np.exp(-0.5 * ((x - c) / s) ** 2)


def j_w2s(x, A, r, h, c, s):
    J = np.empty((x.size, 5))
    q = x**-r
    J[:, 0] = q
    J[:, 1] = -A * q * np.log(x)
    u = (x - c) / s
    e = np.exp(-0.5 * u * u)
    J[:, 2] = e
    t = (h / s) * e * u
    J[:, 3] = t
    J[:, 4] = t * u
    return J


# ---- W3 linear
def design_w3(x):
    G = np.exp(-0.5 * ((x[None] - W3C[:, None]) / W3S[:, None]) ** 2)
    return np.vstack([G, np.ones_like(x), x, x**2])


# ---- W4/W6: h c s o
def f_w4(x, p):
    h, c, s, o = _sp(np.asarray(p))
    return g(x, h, c, s) + o


def f_w4s(x, h, c, s, o):
    return h * np.exp(-0.5 * ((x - c) / s) ** 2) + o


def j_w4s(x, h, c, s, o):
    J = np.empty((x.size, 4))
    u = (x - c) / s
    e = np.exp(-0.5 * u * u)
    J[:, 0] = e
    t = (h / s) * e * u
    J[:, 1] = t
    J[:, 2] = t * u
    J[:, 3] = 1
    return J


# ---- W5: a x0 y0 s o  /  a x0 y0 sx sy o th   (conventions of Gpufit)
def f_g2d(xx, yy, p):
    a, x0, y0, s, o = _sp(np.asarray(p))
    return a * np.exp(-((xx - x0) ** 2 + (yy - y0) ** 2) / (2 * s * s)) + o


def f_g2ds(X, a, x0, y0, s, o):
    return a * np.exp(-((X[0] - x0) ** 2 + (X[1] - y0) ** 2) / (2 * s * s)) + o


def j_g2ds(X, a, x0, y0, s, o):
    J = np.empty((X.shape[1], 5))
    dx = X[0] - x0
    dy = X[1] - y0
    r2 = dx * dx + dy * dy
    e = np.exp(-r2 / (2 * s * s))
    J[:, 0] = e
    t = e * (a / (s * s))
    J[:, 1] = t * dx
    J[:, 2] = t * dy
    J[:, 3] = t * r2 / s
    J[:, 4] = 1
    return J


def f_g2r(xx, yy, p):
    a, x0, y0, sx, sy, o, th = _sp(np.asarray(p))
    sn, cs = np.sin(th), np.cos(th)
    A = (xx - x0) * cs - (yy - y0) * sn
    B = (xx - x0) * sn + (yy - y0) * cs
    return a * np.exp(-0.5 * ((A / sx) ** 2 + (B / sy) ** 2)) + o


def f_g2rs(X, a, x0, y0, sx, sy, o, th):
    sn, cs = np.sin(th), np.cos(th)
    A = (X[0] - x0) * cs - (X[1] - y0) * sn
    B = (X[0] - x0) * sn + (X[1] - y0) * cs
    return a * np.exp(-0.5 * ((A / sx) ** 2 + (B / sy) ** 2)) + o


def j_g2rs(X, a, x0, y0, sx, sy, o, th):
    J = np.empty((X.shape[1], 7))
    sn, cs = np.sin(th), np.cos(th)
    A = (X[0] - x0) * cs - (X[1] - y0) * sn
    B = (X[0] - x0) * sn + (X[1] - y0) * cs
    ux = A / sx**2
    uy = B / sy**2
    e = np.exp(-0.5 * (A * ux + B * uy))
    ae = a * e
    J[:, 0] = e
    J[:, 1] = ae * (ux * cs + uy * sn)
    J[:, 2] = ae * (-ux * sn + uy * cs)
    J[:, 3] = ae * A * ux / sx
    J[:, 4] = ae * B * uy / sy
    J[:, 5] = 1
    J[:, 6] = ae * A * B * (1 / sx**2 - 1 / sy**2)
    return J


SC = dict(
    w1=(f_w1s, j_w1s),
    w2=(f_w2s, j_w2s),
    w4=(f_w4s, j_w4s),
    w6=(f_w4s, j_w4s),
    w5a=(f_g2ds, j_g2ds),
    w5b=(f_g2ds, j_g2ds),
    w5c=(f_g2rs, j_g2rs),
)


def X_of(d):
    return np.stack([d["xx"], d["yy"]]) if d["w"].startswith("w5") else d["x"]
