"""Results that are written chunk by chunk while they are computed: for maps larger than memory and runs
longer than a machine's life.
"""
