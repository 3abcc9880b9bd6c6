"""Quantised weights: the bits of each part, and the parts on a Q4_0 grid."""
