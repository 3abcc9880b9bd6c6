"""Models in memory: loading, chat, and the true configurations without weights. The layer that imports torch."""
