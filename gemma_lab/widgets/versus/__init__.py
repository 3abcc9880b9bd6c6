"""The explorer of a comparison of two models."""
