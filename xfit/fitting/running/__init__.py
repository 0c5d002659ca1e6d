"""A plan on chunks: their places, their data, threads or a cluster."""
