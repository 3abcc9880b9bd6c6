"""Messages, prompts, tools, sampling and generation."""
