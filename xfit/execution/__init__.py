"""Where and how chunks are worked on: their places, their data, threads or a cluster."""
