"""Model, derivatives and Gram matrix at a point: of one pixel and of several side by side."""
