"""Quantised weights: methods by name, int8 and int4 for every part, and the bits that are really held."""
