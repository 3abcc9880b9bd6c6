"""Models in memory: loading, media, prompts, generation. Requires torch at run time."""
