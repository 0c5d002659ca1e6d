"""All formulas of the sciences, by field."""

from __future__ import annotations

from ci.sciences import earth_and_sky, life, matter
from ci.sciences.formula import Formula

FIELDS: dict[str, tuple[Formula, ...]] = {
    "enzyme kinetics": life.ENZYMES,
    "pharmacology": life.PHARMACOLOGY,
    "growth": life.GROWTH,
    "ecology and climate": life.ECOLOGY,
    "psychometrics": life.PSYCHOMETRICS,
    "biophysics": life.BIOPHYSICS,
    "soil": earth_and_sky.SOIL,
    "astronomy": earth_and_sky.ASTRONOMY,
    "optics": earth_and_sky.OPTICS,
    "magnetism": matter.MAGNETISM,
    "rheology": matter.RHEOLOGY,
    "electrochemistry": matter.ELECTROCHEMISTRY,
    "diffusion and relaxation": matter.RELAXATION,
    "adsorption": matter.ADSORPTION,
    "semiconductors": matter.SEMICONDUCTORS,
    "mechanics and molecules": matter.MECHANICS,
}

FORMULAS: dict[str, Formula] = {formula.name: formula for formulas in FIELDS.values() for formula in formulas}
