"""Live views: traits and JavaScript on top of `gemma_lab.views`."""
