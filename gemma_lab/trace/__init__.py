"""Exact traces of a model run. Only `probes` and `run` import torch: a saved trace opens without it."""
