"""Compare two models, or one model in two states: answers, distributions, routing, attention, cost."""
