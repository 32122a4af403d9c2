"""Neural network layers and the codec network."""
