"""Tables, figures and pages. Numpy only, never torch."""
