"""How the mini models are made: tokenizer, chat template, tasks, training, evaluation and the card."""
