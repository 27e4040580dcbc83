"""The ways in: they parse, call and print; nothing is computed here."""
