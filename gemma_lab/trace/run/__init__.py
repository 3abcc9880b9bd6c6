"""Run a model under probes: `Lab.trace`, activations, attention rows on demand."""
