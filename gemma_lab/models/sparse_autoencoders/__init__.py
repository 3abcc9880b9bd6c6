"""Sparse autoencoders of the residual stream: published layouts, encoding, saving. No pickle is read."""
