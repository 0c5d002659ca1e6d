"""The least-squares fit of several pixels side by side."""
