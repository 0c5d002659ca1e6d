"""From descriptions to machine code: generated kernels, ties as instructions, programs, the cache on disk."""
