"""Causal maps: what of a run decides its answer, by activation patching and by its gradient approximation."""
