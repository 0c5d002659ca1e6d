"""Files in and out: what instruments and other programs write, and results for others to read."""
