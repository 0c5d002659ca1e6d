"""The least-squares engine: NumPy arrays in, packed rows out; it knows no model and no xarray."""
