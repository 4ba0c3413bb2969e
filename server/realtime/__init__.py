"""OpenAI Realtime without I/O: events, commands, and the state of a session."""
