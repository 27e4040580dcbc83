"""Named experiments, the runner that carries them out, and the statistics that judge them."""
