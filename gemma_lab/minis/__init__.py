"""Training of the mini models: tokenizer, chat template, tasks, training, evaluation, model card."""
