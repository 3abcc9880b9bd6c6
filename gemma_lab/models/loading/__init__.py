"""Find, check, place and load checkpoints; build models without weights."""
