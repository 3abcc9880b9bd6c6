"""What Gemma 4 models exist, what they are made of and what was published about them. No torch."""
