"""`fit_block` and what it needs: one block of pixels, fitted by any optimizer."""
