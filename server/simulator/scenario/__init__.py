"""Whole conversations as files: what the caller does, how the model answers, and what must be heard."""
