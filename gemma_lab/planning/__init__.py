"""Which model fits on which hardware, how fast it runs and what it costs. No torch."""
