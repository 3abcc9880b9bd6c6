"""The benchmarks' results and the table made of them: ``python -m gemma_lab.bench``, for a checkout."""
