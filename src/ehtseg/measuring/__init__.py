"""From masks and motion to traces, beats and kinetics. Numpy only, never torch."""
