"""Hooks that record a running model's routers, attention, residual stream and towers."""
