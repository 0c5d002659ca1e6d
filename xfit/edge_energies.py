"""Energies of inner-shell ionisation edges, and atomic numbers, of the elements that electron energy-loss spectra show.

In eV, as in the database of elements of eXSpy 0.3.2.
"""

from __future__ import annotations

#: Atomic number and energy of the K edge.
K_EDGES: dict[str, tuple[int, float]] = {
    "H": (1, 13.598),
    "He": (2, 24.587),
    "Li": (3, 55.0),
    "Be": (4, 111.0),
    "B": (5, 188.0),
    "C": (6, 284.0),
    "N": (7, 401.0),
    "O": (8, 532.0),
    "F": (9, 685.0),
    "Ne": (10, 867.0),
    "Na": (11, 1072.0),
    "Mg": (12, 1305.0),
    "Al": (13, 1560.0),
    "Si": (14, 1839.0),
    "P": (15, 2146.0),
    "Fe": (26, 7113.0),
    "Tc": (43, 21044.0),
}

#: Atomic number and energies of the L3 and of the L1 edge.
L_EDGES: dict[str, tuple[int, float, float]] = {
    "Mg": (12, 51.0, 89.0),
    "Si": (14, 99.2, 149.7),
    "K": (19, 294.0, 377.0),
    "Ca": (20, 346.0, 438.0),
    "Sc": (21, 402.0, 500.0),
    "Ti": (22, 456.0, 564.0),
    "V": (23, 513.0, 628.0),
    "Cr": (24, 575.0, 695.0),
    "Mn": (25, 640.0, 769.0),
    "Fe": (26, 708.0, 846.0),
    "Co": (27, 779.0, 926.0),
    "Ni": (28, 855.0, 1008.0),
    "Cu": (29, 931.0, 1096.0),
    "Zn": (30, 1020.0, 1194.0),
    "Ga": (31, 1115.0, 1298.0),
    "Ge": (32, 1217.0, 1414.0),
    "As": (33, 1323.0, 1526.0),
    "Se": (34, 1436.0, 1654.0),
    "Br": (35, 1550.0, 1782.0),
    "Kr": (36, 1675.0, 1921.0),
    "Rb": (37, 1804.0, 2065.0),
    "Sr": (38, 1940.0, 2216.0),
    "Y": (39, 2080.0, 2372.0),
    "Zr": (40, 2222.0, 2532.0),
    "Nb": (41, 2371.0, 2698.0),
    "Mo": (42, 2520.0, 2866.0),
}
