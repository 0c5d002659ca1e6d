"""Enzyme kinetics, pharmacology, growth, ecology, psychometrics and biophysics."""

from __future__ import annotations

import numpy as np
from scipy import special

from ci.sciences.formula import Formula

ENZYMES = (
    Formula(
        "Michaelis-Menten",
        "Vmax*x/(Km + x)",
        lambda x, Vmax, Km: Vmax * x / (Km + x),
        dict(Vmax=(10, 1), Km=(3, 1)),
        ((0, 20), (0, 1000, 1), (0.01, 5)),
        "Johnson and Goody, Biochemistry 50, 8264 (2011), doi:10.1021/bi201284u",
    ),
    Formula(
        "Hill",
        "Vmax*x**n/(K**n + x**n)",
        lambda x, Vmax, K, n: Vmax / ((K / np.where(x == 0, 1e-300, x)) ** n + 1),
        dict(Vmax=(8, 10), K=(2.5, 1), n=(2.3, 1)),
        ((0, 10), (0, 1000, 1), (0.1, 5)),
        "Goutelle et al., Fundam. Clin. Pharmacol. 22, 633 (2008), doi:10.1111/j.1472-8206.2008.00633.x",
    ),
    Formula(
        "substrate inhibition",
        "Vmax*x/(Km + x + x**2/Ki)",
        lambda x, Vmax, Km, Ki: Vmax / (Km / np.where(x == 0, 1e-300, x) + 1 + x / Ki),
        dict(Vmax=(12, 10), Km=(2, 1), Ki=(15, 10)),
        ((0, 50), (0, 2000, 1)),
        "Andrews, Biotechnol. Bioeng. 10, 707 (1968), doi:10.1002/bit.260100602",
    ),
    Formula(
        "tight-binding inhibition",
        "v0*(1 - (Et + x + Ki - sqrt((Et + x + Ki)**2 - 4*Et*x))/(2*Et))",
        lambda x, v0, Et, Ki: v0 - v0 / (2 * Et) * ((Et + x + Ki) - np.sqrt((Et - x) ** 2 + Ki**2 + 2 * Ki * (Et + x))),
        dict(v0=(5, 1), Et=(2, 1), Ki=(0.1, 1)),
        ((0, 6), (0, 100, 1)),
        "Morrison, Biochim. Biophys. Acta 185, 269 (1969), doi:10.1016/0005-2744(69)90420-3",
    ),
    Formula(
        "Monod-Wyman-Changeux",
        "A*u*(1 + u)**3/(L + (1 + u)**4); u = x/K",
        lambda x, A, K, L: A * (x / K) * (1 + x / K) ** 3 / (L + (1 + x / K) ** 4),
        dict(A=(1, 1), K=(2, 1), L=(300, 100)),
        ((0, 40), (0, 3000, 1)),
        "Monod, Wyman and Changeux, J. Mol. Biol. 12, 88 (1965), doi:10.1016/S0022-2836(65)80285-6",
    ),
    Formula(
        "pH bell",
        "Vmax/(1 + 10**(pK1 - x) + 10**(x - pK2))",
        lambda x, Vmax, pK1, pK2: Vmax / (1 + np.power(10.0, pK1 - x) + np.power(10.0, x - pK2)),
        dict(Vmax=(3, 1), pK1=(5.5, 5), pK2=(8.5, 9)),
        ((0, 14), (-20, 30), (-500, 500, 5)),
        "Cornish-Bowden, Fundamentals of Enzyme Kinetics, 4th ed. (2012), chapter 10",
    ),
)

PHARMACOLOGY = (
    Formula(
        "four-parameter logistic",
        "bottom + (top - bottom)/(1 + (x/EC50)**h)",
        lambda x, bottom, top, EC50, h: bottom + (top - bottom) / (1 + (x / EC50) ** h),
        dict(bottom=(1, 0), top=(9, 10), EC50=(4, 1), h=(1.7, 1)),
        ((0, 30), (0, 3000, 1), (0.1, 20)),
        "DeLean, Munson and Rodbard, Am. J. Physiol. 235, E97 (1978), doi:10.1152/ajpendo.1978.235.2.E97",
    ),
    Formula(
        "five-parameter logistic",
        "d + (a - d)/(1 + (x/c)**b)**g",
        lambda x, a, b, c, d, g: d + (a - d) * (1 + (x / c) ** b) ** -g,
        dict(a=(0.2, 0), b=(2.5, 2), c=(5, 5), d=(3, 2), g=(0.6, 1)),
        ((0, 40), (0, 2000, 1)),
        "Gottschalk and Dunn, Anal. Biochem. 343, 54 (2005), doi:10.1016/j.ab.2005.04.035",
    ),
    Formula(
        "logistic in log dose",
        "bottom + (top - bottom)/(1 + 10**((logEC50 - x)*h))",
        lambda x, bottom, top, logEC50, h: bottom + (top - bottom) / (1 + np.power(10.0, (logEC50 - x) * h)),
        dict(bottom=(5, 0), top=(95, 100), logEC50=(-0.7, 0), h=(1.2, 1)),
        ((-5, 5), (-12, 2), (-1000, 1000, 1)),
        "Motulsky and Christopoulos, Fitting Models to Biological Data (2004), chapter 42",
    ),
    Formula(
        "sigmoid Emax",
        "E0 + Emax*x**g/(EC50**g + x**g)",
        lambda x, E0, Emax, EC50, g: E0 + Emax * (x / EC50) ** g / (1 + (x / EC50) ** g),
        dict(E0=(2, 1), Emax=(20, 10), EC50=(6, 5), g=(1.4, 1)),
        ((0, 50), (0, 5000, 2)),
        "Gabrielsson and Weiner, Pharmacokinetic and Pharmacodynamic Data Analysis, 5th ed. (2016), chapter 3",
    ),
    Formula(
        "Bateman, one compartment",
        "F*ka/(ka - ke)*(exp(-ke*x) - exp(-ka*x))",
        lambda x, F, ka, ke: F / (1 - ke / ka) * (np.exp(-ke * x) - np.exp(-ka * x)),
        dict(F=(12, 10), ka=(1.5, 1), ke=(0.2, 0.1)),
        ((0, 24), (0, 3000, 2)),
        "Rowland and Tozer, Clinical Pharmacokinetics and Pharmacodynamics, 4th ed. (2011), chapter 6",
    ),
    Formula(
        "biexponential disposition",
        "A*exp(-a*x) + B*exp(-b*x)",
        lambda x, A, a, B, b: A / np.exp(a * x) + B / np.exp(b * x),
        dict(A=(10, 10), a=(1.5, 1), B=(4, 5), b=(0.15, 0.1)),
        ((0, 20), (0, 2000, 1)),
        "Gibaldi and Perrier, Pharmacokinetics, 2nd ed. (1982), chapter 2",
    ),
    Formula(
        "gamma variate of a bolus",
        "where(x > t0, A*(x - t0)**a*exp(-(x - t0)/b), 0)",
        lambda x, A, t0, a, b: A * np.maximum(x - t0, 0) ** a * np.exp(-np.maximum(x - t0, 0) / b),
        dict(A=(2, 1), t0=(3.3, 3), a=(2.2, 2), b=(1.7, 2)),
        ((0, 30), (-20, 40), (-1000, 1000, 2)),
        "Thompson et al., Circ. Res. 14, 502 (1964), doi:10.1161/01.RES.14.6.502",
    ),
)

GROWTH = (
    Formula(
        "Gompertz",
        "A*exp(-b*exp(-c*x))",
        lambda x, A, b, c: A / np.exp(b / np.exp(c * x)),
        dict(A=(10, 10), b=(5, 1), c=(0.4, 1)),
        ((0, 20), (-20, 20), (-3000, 3000, 2)),
        "Ratkowsky, Nonlinear Regression Modeling (1983), chapter 4",
    ),
    Formula(
        "Gompertz by rate and lag",
        "A*exp(-exp(mu*E/A*(lag - x) + 1))",
        lambda x, A, mu, lag: A * np.exp(-np.exp(1 + mu * np.exp(1.0) * (lag - x) / A)),
        dict(A=(9, 10), mu=(1.2, 1), lag=(4, 1)),
        ((0, 30), (-30, 30), (-3000, 3000, 5)),
        "Zwietering et al., Appl. Environ. Microbiol. 56, 1875 (1990), doi:10.1128/aem.56.6.1875-1881.1990",
    ),
    Formula(
        "logistic growth",
        "K/(1 + exp(-r*(x - t0)))",
        lambda x, K, r, t0: K * special.expit(r * (x - t0)),
        dict(K=(50, 10), r=(0.8, 1), t0=(6, 5)),
        ((0, 20), (-20, 20), (-3000, 3000, 5)),
        "Seber and Wild, Nonlinear Regression (1989), section 7.3",
    ),
    Formula(
        "logistic growth as a difference",
        "K - K/(1 + exp(r*(x - t0)))",
        lambda x, K, r, t0: K * special.expit(r * (x - t0)),
        dict(K=(50, 10), r=(0.8, 1), t0=(6, 5)),
        ((0, 20), (-3000, 3000, 5)),
        "Seber and Wild, Nonlinear Regression (1989), section 7.3",
    ),
    Formula(
        "Richards",
        "K*(1 + q*exp(-r*(x - t0)))**(-1/q)",
        lambda x, K, q, r, t0: K / (1 + q * np.exp(r * (t0 - x))) ** (1 / q),
        dict(K=(20, 20), q=(0.5, 1), r=(0.7, 1), t0=(5, 5)),
        ((0, 20), (-10, 20), (-900, 900, 5)),
        "Richards, J. Exp. Bot. 10, 290 (1959), doi:10.1093/jxb/10.2.290",
    ),
    Formula(
        "Weibull growth",
        "a - b*exp(-k*x**d)",
        lambda x, a, b, k, d: a - b / np.exp(k * np.power(x, d)),
        dict(a=(70, 100), b=(60, 100), k=(0.02, 0.01), d=(1.8, 2)),
        ((0, 20), (0, 500, 5)),
        "Ratkowsky, Nonlinear Regression Modeling (1983), chapter 4",
    ),
    Formula(
        "von Bertalanffy length",
        "L*(1 - exp(-k*(x - t0)))",
        lambda x, L, k, t0: -L * np.expm1(-k * (x - t0)),
        dict(L=(60, 50), k=(0.25, 0.1), t0=(-0.8, 0)),
        ((0, 20), (-3, 20), (0, 1000, 5)),
        "Haddon, Modelling and Quantitative Methods in Fisheries, 2nd ed. (2011), chapter 9",
    ),
    Formula(
        "von Bertalanffy weight",
        "W*(1 - exp(-k*(x - t0)))**3",
        lambda x, W, k, t0: W * (1 - 1 / np.exp(k * (x - t0))) ** 3,
        dict(W=(8, 10), k=(0.3, 0.1), t0=(-0.5, 0)),
        ((0, 20), (0, 1000, 5)),
        "Haddon, Modelling and Quantitative Methods in Fisheries, 2nd ed. (2011), chapter 9",
    ),
    Formula(
        "Chapman-Richards",
        "A*(1 - exp(-k*x))**p",
        lambda x, A, k, p: A * np.power(-np.expm1(-k * x), p),
        dict(A=(30, 10), k=(0.08, 0.1), p=(1.6, 1)),
        ((0, 100), (0, 5000, 10)),
        "Pienaar and Turnbull, For. Sci. 19, 2 (1973), doi:10.1093/forestscience/19.1.2",
    ),
    Formula(
        "Morgan-Mercer-Flodin",
        "(a*b + c*x**d)/(b + x**d)",
        lambda x, a, b, c, d: c + (a - c) * b / (b + np.power(x, d)),
        dict(a=(2, 1), b=(60, 100), c=(30, 10), d=(2.4, 2)),
        ((0, 30), (0, 1000, 3)),
        "Morgan, Mercer and Flodin, PNAS 72, 4327 (1975), doi:10.1073/pnas.72.11.4327",
    ),
    Formula(
        "Baranyi-Roberts",
        "y0 + g - log(1 + (exp(g) - 1)/exp(ymax - y0)); g = mu*x + log(exp(-mu*x) + exp(-h) - exp(-mu*x - h))",
        lambda x, y0, ymax, mu, h: _baranyi(
            mu * x + np.log(np.exp(-mu * x) + np.exp(-h) - np.exp(-mu * x - h)), y0, ymax
        ),
        dict(y0=(2, 1), ymax=(18, 20), mu=(0.9, 1), h=(3, 1)),
        ((0, 40), (0, 200, 10)),
        "Baranyi and Roberts, Int. J. Food Microbiol. 23, 277 (1994), doi:10.1016/0168-1605(94)90157-0",
    ),
    Formula(
        "growth rate and temperature",
        "(b*(x - Tmin)*(1 - exp(c*(x - Tmax))))**2",
        lambda x, b, Tmin, c, Tmax: b**2 * (x - Tmin) ** 2 * np.expm1(c * (x - Tmax)) ** 2,
        dict(b=(0.04, 0.1), Tmin=(2, 0), c=(0.3, 0.1), Tmax=(42, 40)),
        ((0, 42), (-10, 40), (5, 42)),
        "Ratkowsky et al., J. Bacteriol. 154, 1222 (1983), doi:10.1128/jb.154.3.1222-1226.1983",
    ),
)


def _baranyi(g: np.ndarray, y0: float, ymax: float) -> np.ndarray:
    """Logarithm of the number of cells, by the adjusted time."""
    return y0 + g - np.log1p(np.expm1(g) * np.exp(y0 - ymax))


ECOLOGY = (
    Formula(
        "Holling type III",
        "a*x**2/(1 + a*h*x**2)",
        lambda x, a, h: a * x * x / (1 + a * h * x * x),
        dict(a=(0.3, 1), h=(0.4, 1)),
        ((0, 10), (-10, 10), (-1000, 1000, 1)),
        "Holling, Mem. Entomol. Soc. Can. 97 (S45), 5 (1965), doi:10.4039/entm9745fv",
    ),
    Formula(
        "photosynthesis, tanh",
        "P*tanh(a*x/P) - R",
        lambda x, P, a, R: P * np.tanh(a / P * x) - R,
        dict(P=(20, 10), a=(0.06, 0.1), R=(1.5, 1)),
        ((0, 1500), (-500, 1500), (-1e5, 1e5, 100)),
        "Jassby and Platt, Limnol. Oceanogr. 21, 540 (1976), doi:10.4319/lo.1976.21.4.0540",
    ),
    Formula(
        "photosynthesis with inhibition",
        "P*(1 - exp(-a*x/P))*exp(-b*x/P)",
        lambda x, P, a, b: -P * np.expm1(-a * x / P) * np.exp(-b * x / P),
        dict(P=(10, 10), a=(0.1, 0.1), b=(0.004, 0.01)),
        ((0, 1500), (0, 20000, 200)),
        "Platt, Gallegos and Harrison, J. Mar. Res. 38, 687 (1980)",
    ),
    Formula(
        "non-rectangular hyperbola",
        "(a*x + P - sqrt((a*x + P)**2 - 4*th*a*x*P))/(2*th) - R",
        lambda x, a, P, th, R: 2 * a * x * P / (a * x + P + np.sqrt((a * x + P) ** 2 - 4 * th * a * x * P)) - R,
        dict(a=(0.05, 0.1), P=(25, 10), th=(0.8, 0.5), R=(1.2, 1)),
        ((0, 2000), (0, 1e5, 200)),
        "Thornley and Johnson, Plant and Crop Modelling (1990), section 9.3",
    ),
    Formula(
        "double logistic of greenness",
        "b + (m - b)*(1/(1 + exp(-s1*(x - t1))) + 1/(1 + exp(s2*(x - t2))) - 1)",
        lambda x, b, m, s1, t1, s2, t2: b + (m - b) * (special.expit(s1 * (x - t1)) + special.expit(s2 * (t2 - x)) - 1),
        dict(b=(0.2, 0), m=(0.8, 1), s1=(0.08, 0.1), t1=(130, 100), s2=(0.06, 0.1), t2=(280, 300)),
        ((0, 365), (-200, 600), (-20000, 20000, 100)),
        "Beck et al., Remote Sens. Environ. 100, 321 (2006), doi:10.1016/j.rse.2005.10.021",
    ),
    Formula(
        "Magnus",
        "A*exp(B*x/(C + x))",
        lambda x, A, B, C: A * np.exp(B / (1 + C / np.where(x == 0, 1e-300, x))),
        dict(A=(6.112, 5), B=(17.6, 20), C=(243, 200)),
        ((0, 50), (-40, 50)),
        "Alduchov and Eskridge, J. Appl. Meteorol. 35, 601 (1996), doi:10.1175/1520-0450(1996)035<0601:IMFAOS>2.0.CO;2",
    ),
)

PSYCHOMETRICS = (
    Formula(
        "psychometric Weibull",
        "g + (1 - g - lapse)*(1 - exp(-(x/a)**b))",
        lambda x, g, lapse, a, b: g + (1 - g - lapse) * -np.expm1(-((x / a) ** b)),
        dict(g=(0.5, 0.5), lapse=(0.03, 0), a=(2.3, 1), b=(1.8, 1)),
        ((0, 8), (0, 500, 1)),
        "Wichmann and Hill, Percept. Psychophys. 63, 1293 (2001), doi:10.3758/BF03194544",
    ),
    Formula(
        "psychometric probit",
        "g + (1 - g - lapse)*(1 + erf((x - m)/(s*sqrt(2))))/2",
        lambda x, g, lapse, m, s: g + (1 - g - lapse) * special.ndtr((x - m) / s),
        dict(g=(0.1, 0), lapse=(0.05, 0), m=(0.6, 0), s=(1.3, 1)),
        ((-6, 6), (0, 6), (-1000, 1000, 2)),
        "Wichmann and Hill, Percept. Psychophys. 63, 1293 (2001), doi:10.3758/BF03194544",
    ),
    Formula(
        "Stevens' power law",
        "k*x**a + c",
        lambda x, k, a, c: k * np.power(x, a) + c,
        dict(k=(3, 1), a=(0.6, 1), c=(0.5, 0)),
        ((0, 10), (0, 10000, 1)),
        "Stevens, Psychol. Rev. 64, 153 (1957), doi:10.1037/h0046162",
    ),
)

BIOPHYSICS = (
    Formula(
        "energy transfer",
        "A/(1 + (x/R0)**6)",
        lambda x, A, R0: A * R0**6 / (R0**6 + x**6),
        dict(A=(0.95, 1), R0=(5.4, 5)),
        ((0, 12), (-12, 12), (-1e4, 1e4, 3)),
        "Lakowicz, Principles of Fluorescence Spectroscopy, 3rd ed. (2006), chapter 13",
    ),
    Formula(
        "combined quenching",
        "F0/((1 + K*x)*exp(V*x))",
        lambda x, F0, K, V: F0 * np.exp(-V * x) / (1 + K * x),
        dict(F0=(100, 100), K=(8, 10), V=(1.5, 1)),
        ((0, 1), (0, 500, 0.2)),
        "Lakowicz, Principles of Fluorescence Spectroscopy, 3rd ed. (2006), chapter 8",
    ),
    Formula(
        "decay behind a Gaussian response",
        "A/2*exp(s**2/(2*tau**2) - (x - t0)/tau)*erfc((s/tau - (x - t0)/s)/sqrt(2)) + b",
        lambda x, A, s, tau, t0, b: _decay(x - t0, A, s, tau) + b,
        dict(A=(100, 100), s=(0.3, 0.5), tau=(2.5, 1), t0=(1.2, 1), b=(3, 0)),
        ((0, 15), (-5, 20), (-15, 500, 2)),
        "Lampert et al., Anal. Chem. 55, 68 (1983), doi:10.1021/ac00252a020",
    ),
    Formula(
        "rise from a beginning",
        "where(x > t0, A*(1 - exp(-(x - t0)/tau)), 0) + b",
        lambda x, A, t0, tau, b: -A * np.expm1(-np.maximum(x - t0, 0) / tau) + b,
        dict(A=(10, 10), t0=(2.3, 2), tau=(3, 1), b=(1, 0)),
        ((0, 20), (-10, 20), (-5000, 5000, 3)),
        "Demtröder, Laser Spectroscopy 2, 5th ed. (2015), chapter 6",
    ),
    Formula(
        "unfolding by a denaturant",
        "(yn + mn*x + (yu + mu*x)*q)/(1 + q); q = exp(-(dG - m*x)/0.5922)",
        lambda x, yn, mn, yu, mu, dG, m: (
            (yn + mn * x) + (yu + mu * x - yn - mn * x) * special.expit((m * x - dG) / 0.5922)
        ),
        dict(yn=(1, 1), mn=(0.01, 0), yu=(0.1, 0), mu=(-0.01, 0), dG=(5, 5), m=(1.4, 1)),
        ((0, 8), (-5, 12)),
        "Santoro and Bolen, Biochemistry 27, 8063 (1988), doi:10.1021/bi00421a014",
    ),
    Formula(
        "melting of a protein",
        "yf + (yu - yf)/(1 + exp(H/0.0083145*(1/x - 1/Tm)))",
        lambda x, yf, yu, H, Tm: yf + (yu - yf) * special.expit(-H / 0.0083145 * (1 / x - 1 / Tm)),
        dict(yf=(1, 1), yu=(0.1, 0), H=(300, 100), Tm=(330, 300)),
        ((280, 370), (0, 600)),
        "Privalov, Adv. Protein Chem. 33, 167 (1979), doi:10.1016/S0065-3233(08)60460-X",
    ),
)


def _decay(t: np.ndarray, A: float, s: float, tau: float) -> np.ndarray:
    """An exponential decay convolved with a Gaussian, without overflow."""
    u = (s / tau - t / s) / np.sqrt(2)
    far = np.exp(s**2 / (2 * tau**2) - t / tau) * special.erfc(np.minimum(u, 0))
    return A / 2 * np.where(u > 0, np.exp(-(t**2) / (2 * s**2)) * special.erfcx(np.maximum(u, 0)), far)
