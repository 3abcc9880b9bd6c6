"""Models in memory: loading, chat, true configurations without weights. The layer that imports torch."""
