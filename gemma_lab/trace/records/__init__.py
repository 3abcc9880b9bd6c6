"""What a trace holds, as numpy arrays: routing, attention, logit lens, activations, generation. No torch."""
