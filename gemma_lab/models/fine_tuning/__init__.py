"""Fine-tuning with low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) through PEFT."""
