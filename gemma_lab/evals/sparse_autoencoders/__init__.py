"""Sparse autoencoders: how much of the residual stream one explains on given texts, and training."""
