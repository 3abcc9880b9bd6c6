"""The explorer of a causal map."""
