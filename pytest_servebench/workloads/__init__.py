"""Workloads for language models: prompts from files, distributions and traces, as requests."""
