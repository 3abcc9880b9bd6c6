"""Ablation tests: what a set of experts or heads causes, against matched random sets."""
