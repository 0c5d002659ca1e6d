"""Harness: @case registers a (workload, variant); `python bench_x.py` runs all cases of that script, each in its own
process pinned to one core; `python bench_x.py w1:lm w2:trf` runs some; `--list` lists. Results go to
results/results.jsonl.

A case function gets the loaded dataset d and returns fit(idx) -> (P, ok) or (P, ok, extra):
    idx pixel numbers to fit, P [len(idx), npar] in d["names"] order (NaN where the fit raised), ok bool [len(idx)] or
    None
Only fit() is timed (after a warm-up call on a few pixels, whose time is reported as `warm_s`: JIT, imports, caches).
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time

for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ.setdefault(k, "1")
import datagen
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
WORK = os.environ.get("BENCH_WORK", HERE)
OUT = os.path.join(WORK, "results", os.environ.get("BENCH_OUT", "results.jsonl"))
CASES = {}
DEFOBJ = dict(w1="ls", w2="ls", w3="ls", w4="mle", w5a="ls", w5b="ls", w5c="ls", w6="ls")


def case(w, variant, n=None, obj=None, warm=8, reps=3, cores=1, timeout=580, note="", dtype="f8"):
    def deco(f):
        for ww in [w] if isinstance(w, str) else w:
            CASES[f"{ww}:{variant}"] = dict(
                f=f,
                w=ww,
                variant=variant,
                n=n,
                obj=obj or DEFOBJ[ww],
                warm=warm,
                reps=reps,
                cores=cores,
                timeout=timeout,
                note=note,
                dtype=dtype,
            )
        return f

    return deco


def canon(w, P):
    """Remove exact symmetries of the model before comparing with truth"""
    P = np.array(P, dtype=float)
    if w == "w1":
        P[:, 2] = abs(P[:, 2])
        P[:, 5] = abs(P[:, 5])
        sw = P[:, 1] > P[:, 4]
        P[sw, :6] = P[sw][:, [3, 4, 5, 0, 1, 2]]
    elif w == "w2":
        P[:, 4] = abs(P[:, 4])
    elif w in ("w4", "w6"):
        P[:, 2] = abs(P[:, 2])
    elif w in ("w5a", "w5b"):
        P[:, 3] = abs(P[:, 3])
    elif w == "w5c":
        P[:, 3:5] = abs(P[:, 3:5])
        sw = P[:, 3] < P[:, 4]
        P[sw, 3], P[sw, 4] = P[sw, 4], P[sw, 3].copy()
        P[sw, 6] += np.pi / 2
        P[:, 6] = np.mod(P[:, 6] - 0.6 + np.pi / 2, np.pi) + 0.6 - np.pi / 2
    return P


def score(d, idx, P, obj):
    w = d["w"]
    with np.errstate(all="ignore"):
        P = canon(w, P)
        T = d["T"][idx]
        R = canon(w, d["ref"][obj + "_p"][idx])
        S = d["ref"][obj + "_s"][idx]
        rel = abs(P - T) / abs(T)
        rel = np.where(np.isfinite(rel), rel, np.inf)
        z = abs(P - R) / S
        z = np.where(np.isfinite(z), z, np.inf).max(1)
        relr = abs(R - T) / abs(T)
    return dict(
        med_rel_err=float(np.median(rel)),
        med_rel_err_opt=float(np.median(relr)),
        med_rel_err_par=[float(f"{v:.3g}") for v in np.median(rel, 0)],
        at_opt=float((z < 0.1).mean()),
        at_opt_strict=float((z < 1e-3).mean()),
        lost=float((z > 3).mean()),
        nan=int((~np.isfinite(P)).any(1).sum()),
    )


def versions():
    import importlib.metadata as im

    v = {}
    for p in [
        "numpy",
        "scipy",
        "hyperspy",
        "lmfit",
        "xarray",
        "dask",
        "astropy",
        "xarray-lmfit",
        "iminuit",
        "numba",
        "jax",
        "optimistix",
        "nlls-gram",
        "nlsq",
        "jaxfit",
        "lumafit",
        "PyMca5",
        "picassosr",
        "torch",
        "spotfitlm",
        "gfit",
        "torchimize",
        "jaxopt",
        "gaussfit-rs",
    ]:
        try:
            v[p] = im.version(p)
        except Exception:
            pass
    return v


def run_one(key, n_override=None, tool=None):
    c = CASES[key]
    d = datagen.load(c["w"])
    n = min(n_override or c["n"] or d["n"], d["n"])
    idx = d["perm"][:n]
    rss0 = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    t = time.perf_counter()
    fit = c["f"](d)
    setup_s = time.perf_counter() - t
    t = time.perf_counter()
    if c["warm"]:
        wi = d["perm"][-c["warm"] :]
        fit(wi)
    warm_s = time.perf_counter() - t
    rs = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    walls, cpus = [], []
    total = 0
    for r in range(c["reps"]):
        w0, c0 = time.perf_counter(), time.process_time()
        out = fit(idx)
        walls.append(time.perf_counter() - w0)
        cpus.append(time.process_time() - c0)
        total += walls[-1]
        if total > 60:
            break
    P, ok = out[0], out[1]
    extra = out[2] if len(out) > 2 else {}
    rss1 = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    k = int(np.argmin(walls))
    rec = dict(
        tool=tool,
        w=c["w"],
        variant=c["variant"],
        obj=c["obj"],
        n=n,
        cores=c["cores"],
        dtype=c["dtype"],
        fits_per_s=n / walls[k],
        fits_per_cpu_s=(n / cpus[k]) if c["cores"] == 1 and cpus[k] > 0 else None,
        us_per_fit=1e6 * walls[k] / n,
        wall=walls,
        cpu=cpus,
        spread=max(walls) / min(walls),
        contention=walls[k] / max(cpus[k], 1e-9) if c["cores"] == 1 else None,
        setup_s=setup_s,
        warm_s=warm_s,
        rss_start=rss0,
        rss_warm=rs,
        rss_peak=rss1,
        flagged_fail=(int((~np.asarray(ok, bool)).sum()) if ok is not None else None),
        note=c["note"],
        load=os.getloadavg()[0],
        versions=versions(),
        py=platform.python_version(),
        time=time.strftime("%Y-%m-%dT%H:%M:%S"),
        **score(d, idx, P, c["obj"]),
        extra=extra,
    )
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    with open(OUT, "a") as fh:
        fh.write(json.dumps(rec) + "\n")
    cpu = rec["fits_per_cpu_s"]
    print(
        f"{tool:10s} {key:22s} n={n:<6d} {rec['fits_per_s']:11.1f} fits/s wall"
        + (f" {cpu:11.1f} /cpu-s" if cpu else " " * 19)
        + f"  relerr {rec['med_rel_err']:.3e} (opt {rec['med_rel_err_opt']:.3e})"
        + f"  at_opt {rec['at_opt']:.4f} lost {rec['lost']:.4f}"
        f" flagged {rec['flagged_fail']} nan {rec['nan']}  spread {rec['spread']:.2f} setup {setup_s:.2f}s warm "
        f"{warm_s:.2f}s rss {rss0:.0f}/{rs:.0f}/{rss1:.0f}MB {extra}",
        flush=True,
    )


def main(tool):
    ap = argparse.ArgumentParser()
    ap.add_argument("cases", nargs="*")
    ap.add_argument("--list", action="store_true")
    ap.add_argument("-n", type=int)
    ap.add_argument("--inline", action="store_true")
    a = ap.parse_args()
    keys = [
        k
        for k in CASES
        if not a.cases
        or any(k == s or k.split(":")[0] == s or (s.endswith("*") and k.startswith(s[:-1])) for s in a.cases)
    ]
    if a.list:
        print("\n".join(keys))
        return
    if a.inline:
        for k in keys:
            run_one(k, a.n, tool)
        return
    for k in keys:
        cmd = [sys.executable, sys.argv[0], k, "--inline"] + (["-n", str(a.n)] if a.n else [])
        c = CASES[k]
        if c["cores"] == 1:
            cmd = ["taskset", "-c", os.environ.get("BENCH_CORE", "0")] + cmd
        env = dict(os.environ)
        env.pop("OPENBLAS_CORETYPE", None)
        env.pop("OPENBLAS_L2_SIZE", None)
        env["PYTHONWARNINGS"] = "ignore"
        env.setdefault("NUMBA_CACHE_DIR", os.path.join(WORK, ".numba_cache"))
        if c["cores"] > 1:
            env["NUMBA_NUM_THREADS"] = str(c["cores"])
        try:
            p = subprocess.run(cmd, env=env, timeout=c["timeout"], capture_output=True, text=True)
            print(p.stdout, end="")
            if p.returncode:
                print(f"{tool} {k} FAILED rc {p.returncode}: {p.stderr[-1500:]}", flush=True)
        except subprocess.TimeoutExpired:
            print(f"{tool} {k} TIMEOUT after {c['timeout']} s", flush=True)
