"""From labelled frames to a run folder, and from a run folder to scores."""
