"""Jacobian lenses: fitted to a model's weights, saved, and found again for the same weights."""
