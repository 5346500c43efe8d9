"""What language models are asked: prompts from files, distributions and traces, as requests."""
