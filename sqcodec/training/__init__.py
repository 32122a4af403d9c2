"""Training: recipe, optimizers, one step, the loop, its state on disk."""
