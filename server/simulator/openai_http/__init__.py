"""OpenAI's HTTP API for speech and chat: strict, without a key, with faults on demand."""
