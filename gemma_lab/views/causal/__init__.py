"""Views of causal maps and of logits split over components."""
