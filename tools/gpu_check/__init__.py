"""Measure exactness, speed and memory of tracing on a machine's accelerator, without weights or a network."""
