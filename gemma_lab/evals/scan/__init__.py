"""One page about one prompt: what the model did with it, each number beside its null."""
