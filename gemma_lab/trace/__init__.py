"""Exact traces of a model at work. Only the probes import torch: a saved trace opens without it."""
