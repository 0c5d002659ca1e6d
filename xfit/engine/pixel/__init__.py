"""The least-squares fit of one pixel."""
