"""The machine: devices, free memory, peak memory, and the report of `gemma_lab.doctor`."""
