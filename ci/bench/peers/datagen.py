"""Benchmark datasets W1..W6 for spectral-map fitting tools.

    python datagen.py [w1 w2 ...]      writes data/<w>.npz (+ data/<w>.zarr if zarr is importable)

Every dataset is a dict (see load()):
  x       channel axis, float64 [nch]          (2-D workloads: xx, yy float64 [npts], npts = n*n)
  y       data, nav-shape + (nch,)             float32 (counts)
  var     Poisson variance estimate max(y,1)   (only weighted workloads; computed by load(), not stored)
  truth   nav-shape + (npar,)                  float64, in `names` order
  p0      [npar] or nav-shape+(npar,)          the start values every tool must use
  lo, hi  [npar]                               bounds (only meaningful for w2, w4)
  names   list[str]
  ref     nav-shape + (npar,)                  reference optimum(s): ref_ls, ref_w, ref_mle (see make_ref.py)
Order of pixels used when a tool runs a subset: load(w)["perm"] (fixed permutation), first n of it.
"""

import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(os.environ.get("BENCH_WORK", HERE), "data")
SQ2PI = np.sqrt(2 * np.pi)


def smooth(rng, ny, nx, scale=12):
    """Smooth random field, roughly uniform in [0,1]"""
    f = np.fft.fftfreq(ny)[:, None] ** 2 + np.fft.fftfreq(nx)[None] ** 2
    filt = np.exp(-f * (2 * np.pi * scale / 4) ** 2 / 2)
    z = np.fft.ifft2(np.fft.fft2(rng.standard_normal((ny, nx))) * filt).real
    r = np.argsort(np.argsort(z.ravel())).reshape(ny, nx) / (ny * nx - 1)
    return r


def w1(seed=1, ny=64, nx=64):
    """2 Gaussians + linear background, 1024 channels, 8 parameters, Poisson noise"""
    rng = np.random.default_rng(seed)
    x = np.arange(1024) * 0.01
    S = lambda: smooth(rng, ny, nx)
    h1 = 100 * 10 ** S()
    c1 = 3.5 + 0.2 * (S() - 0.5)
    s1 = 0.35 * (1 + 0.2 * (S() - 0.5))
    h2 = 100 * 10 ** S()
    c2 = 6.0 + 0.2 * (S() - 0.5)
    s2 = 0.55 * (1 + 0.2 * (S() - 0.5))
    b0 = 60 * (1 + 0.4 * (S() - 0.5))
    b1 = -3.0 * (1 + 0.4 * (S() - 0.5))
    truth = np.stack([h1, c1, s1, h2, c2, s2, b0, b1], -1)
    names = ["h1", "c1", "s1", "h2", "c2", "s2", "b0", "b1"]
    import models

    y = np.empty((ny, nx, x.size), np.float32)
    for i in range(ny):
        y[i] = rng.poisson(models.f_w1(x, truth[i]))
    m = np.median(truth.reshape(-1, 8), 0)
    # ~20 % off the median truth; peak positions off by 20 % of the FWHM (0.47 sigma); same for every pixel
    p0 = m * np.array([0.8, 1, 1.2, 1.2, 1, 0.8, 0.8, 1.2])
    p0[1] += 0.2 * 2.3548 * 0.35
    p0[4] -= 0.2 * 2.3548 * 0.55
    lo = np.array([0, 0, 0.02, 0, 0, 0.02, -np.inf, -np.inf])
    hi = np.array([np.inf, 10.24, 5, np.inf, 10.24, 5, np.inf, np.inf])
    return dict(x=x, y=y, truth=truth, p0=p0, lo=lo, hi=hi, names=names)


def w2(seed=2, ny=64, nx=64):
    """EELS-like: A x^-r + Gaussian, 2048 channels, 5 parameters, bounded"""
    rng = np.random.default_rng(seed)
    x = 200 + 0.5 * np.arange(2048)
    S = lambda: smooth(rng, ny, nx)
    k = 600 * (1 + 0.6 * (S() - 0.5))  # counts at 300 eV
    r = 3.0 * (1 + 0.1 * (S() - 0.5))
    A = k * 300.0**r
    h = 60 * 4 ** S()
    c = 535 + 20 * (S() - 0.5)
    s = 15 * (1 + 0.4 * (S() - 0.5))
    truth = np.stack([A, r, h, c, s], -1)
    names = ["A", "r", "h", "c", "s"]
    import models

    y = np.empty((ny, nx, x.size), np.float32)
    for i in range(ny):
        y[i] = rng.poisson(models.f_w2(x, truth[i]))
    # start: power law 20 % low at 300 eV and r 10 % high, Gaussian 20 % off, position off by 20 % FWHM
    p0 = np.array([0.8 * 600 * 300.0**3.3, 3.3, 0.8 * 120, 535 + 0.2 * 2.3548 * 15, 1.2 * 15])
    lo = np.array([1.0, 1.0, 0.0, 500.0, 2.0])
    hi = np.array([1e16, 6.0, 1e5, 570.0, 60.0])
    return dict(x=x, y=y, truth=truth, p0=p0, lo=lo, hi=hi, names=names)


W3C = np.array([1.0, 2.3, 3.1, 4.6, 6.2, 8.0])
W3S = np.array([0.15, 0.18, 0.2, 0.25, 0.3, 0.35])


def w3(seed=3, ny=256, nx=256):
    """linear: 6 fixed-shape Gaussians (heights) + quadratic background, 1024 channels"""
    rng = np.random.default_rng(seed)
    x = np.arange(1024) * 0.01
    import models

    D = models.design_w3(x)
    co = [100 * 10 ** smooth(rng, ny, nx, 30) for _ in range(6)]
    co += [
        40 * (1 + 0.4 * (smooth(rng, ny, nx) - 0.5)),
        -3 * (1 + 0.4 * (smooth(rng, ny, nx) - 0.5)),
        0.2 * (1 + 0.4 * (smooth(rng, ny, nx) - 0.5)),
    ]
    truth = np.stack(co, -1)
    y = np.empty((ny, nx, x.size), np.float32)
    for i in range(ny):
        y[i] = rng.poisson(truth[i] @ D)
    names = [f"h{i}" for i in range(6)] + ["a0", "a1", "a2"]
    return dict(
        x=x,
        y=y,
        truth=truth,
        p0=np.median(truth.reshape(-1, 9), 0) * 0.8,
        lo=np.full(9, -np.inf),
        hi=np.full(9, np.inf),
        names=names,
    )


def w4(seed=4, ny=64, nx=64):
    """Poisson MLE at low counts: Gaussian + offset, 256 channels, < 5 counts/channel expected"""
    rng = np.random.default_rng(seed)
    x = np.arange(256.0)
    S = lambda: smooth(rng, ny, nx)
    h = 2 + 2 * S()
    c = 128 + 12 * (S() - 0.5)
    s = 14 * (1 + 0.3 * (S() - 0.5))
    o = 0.3 + 0.4 * S()
    truth = np.stack([h, c, s, o], -1)
    import models

    y = np.empty((ny, nx, x.size), np.float32)
    for i in range(ny):
        y[i] = rng.poisson(models.f_w4(x, truth[i]))
    p0 = np.array([3 * 0.8, 128 + 0.2 * 2.3548 * 14, 14 * 1.2, 0.5 * 1.2])
    lo = np.array([1e-3, 40, 2.0, 1e-4])
    hi = np.array([100.0, 216, 80.0, 50.0])
    return dict(x=x, y=y, truth=truth, p0=p0, lo=lo, hi=hi, names=["h", "c", "s", "o"])


def _w5(n, width, npatch, snr, seed, rot=False):
    rng = np.random.default_rng(seed)
    ii = np.arange(n, dtype=float)
    yy, xx = np.meshgrid(ii, ii, indexing="ij")
    xx, yy = xx.ravel(), yy.ravel()
    import models

    c = (n - 1) / 2
    if not rot:  # order as Gpufit GAUSS_2D: amplitude, x0, y0, width, offset
        src = np.array([500.0, c, c, width, 10.0])
        names = ["a", "x0", "y0", "s", "o"]
        f = models.f_g2d
    else:  # order as Gpufit GAUSS_2D_ROTATED: amplitude, x0, y0, sx, sy, offset, angle
        src = np.array([500.0, c, c, width * 1.3, width * 0.75, 10.0, 0.6])
        names = ["a", "x0", "y0", "sx", "sy", "o", "th"]
        f = models.f_g2r
    truth = src * (0.9 + 0.2 * rng.random((npatch, src.size)))
    start = truth * (0.9 + 0.2 * rng.random((npatch, src.size)))
    y = f(xx, yy, truth)
    fit_area = (4.292 * width) ** 2
    mean_amp = 2 * np.pi * 500 * width**2 / fit_area
    y = (y + rng.normal(0, mean_amp / snr, y.shape)).astype(np.float32)
    return dict(
        x=ii,
        xx=xx,
        yy=yy,
        y=y,
        truth=truth,
        p0=start,
        names=names,
        lo=np.full(src.size, -np.inf),
        hi=np.full(src.size, np.inf),
    )


def w5a():
    return _w5(5, 1.0, 10000, 10, 51)  # Gpufit's own performance-comparison workload


def w5b():
    return _w5(15, 2.0, 10000, 10, 52)  # 15x15, 5 parameters


def w5c():
    return _w5(15, 2.0, 10000, 10, 53, True)  # 15x15, 7 parameters (rotated ellipse)


def w6(seed=6, ny=48, nx=48):
    """Two domains, Gaussian + offset, 512 channels, centre drifts over most of the axis"""
    rng = np.random.default_rng(seed)
    x = np.arange(512.0)
    i, j = np.mgrid[:ny, :nx]
    u, v = i / (ny - 1), j / (nx - 1)
    dom = ((v + 0.35 * np.sin(2.2 * u + 0.3)) > 0.78).astype(int)  # curved boundary
    cA = 70 + 340 * u + 30 * v
    cB = 440 - 330 * u - 40 * (v - 0.5)
    c = np.where(dom == 0, cA, cB)
    s = np.where(dom == 0, 7.0, 11.0) * (1 + 0.1 * (smooth(rng, ny, nx) - 0.5))
    h = np.where(dom == 0, 120.0, 70.0) * (1 + 0.3 * (smooth(rng, ny, nx) - 0.5))
    o = 10 * (1 + 0.2 * (smooth(rng, ny, nx) - 0.5))
    truth = np.stack([h, c, s, o], -1)
    import models

    y = rng.poisson(models.f_w4(x, truth)).astype(np.float32)
    p0 = np.array([100.0, 75.0, 8.0, 8.0])  # good for pixel (0,0) only
    return dict(
        x=x,
        y=y,
        truth=truth,
        p0=p0,
        lo=np.array([0, 0, 1.0, 0]),
        hi=np.array([1e4, 512, 60, 1e3]),
        names=["h", "c", "s", "o"],
        domain=dom,
    )


ALL = dict(w1=w1, w2=w2, w3=w3, w4=w4, w5a=w5a, w5b=w5b, w5c=w5c, w6=w6)


def load(w):
    z = np.load(os.path.join(DATA, w + ".npz"))
    d = {k: z[k] for k in z.files}
    d["names"] = [str(n) for n in d["names"]]
    nav = d["truth"].shape[:-1]
    n = int(np.prod(nav))
    d["nav"] = nav
    d["n"] = n
    d["w"] = w
    d["Y"] = d["y"].reshape(n, -1)
    d["T"] = d["truth"].reshape(n, -1)
    d["P0"] = np.ascontiguousarray(np.broadcast_to(d["p0"], d["truth"].shape).reshape(n, -1))
    d["perm"] = np.random.default_rng(0).permutation(n)
    r = os.path.join(DATA, w + "_ref.npz")
    if os.path.exists(r):
        d["ref"] = dict(np.load(r))
    return d


def main():
    os.makedirs(DATA, exist_ok=True)
    for w in sys.argv[1:] or list(ALL):
        d = ALL[w]()
        np.savez(os.path.join(DATA, w + ".npz"), **d)
        print(w, d["y"].shape, d["y"].dtype, "max", d["y"].max(), "median", np.median(d["y"]), flush=True)
        try:
            import xarray as xr, zarr  # noqa
        except ImportError:
            continue
        import warnings

        warnings.simplefilter("ignore")
        y = d["y"]
        if w.startswith("w5"):
            n = d["x"].size
            da = xr.DataArray(y.reshape(-1, n, n), dims=("patch", "y", "x"), coords=dict(y=d["x"], x=d["x"]), name="y")
            ch = dict(patch=2500)
            tr = xr.DataArray(d["truth"], dims=("patch", "param"), coords=dict(param=d["names"]))
            st = xr.DataArray(d["p0"], dims=("patch", "param"), coords=dict(param=d["names"]))
        else:
            da = xr.DataArray(y, dims=("ny", "nx", "x"), coords=dict(x=d["x"]), name="y")
            ch = dict(ny=16, nx=16) if w != "w3" else dict(ny=32, nx=32)
            tr = xr.DataArray(d["truth"], dims=("ny", "nx", "param"), coords=dict(param=d["names"]))
            st = xr.DataArray(d["p0"], dims=("param",), coords=dict(param=d["names"]))
        ds = xr.Dataset(dict(y=da.chunk(ch), truth=tr, p0=st))
        ds.to_zarr(os.path.join(DATA, w + ".zarr"), mode="w")


if __name__ == "__main__":
    main()
