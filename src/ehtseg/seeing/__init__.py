"""From frames to probabilities with a trained network, and pictures of the result."""
