"""A Realtime server to call instead of OpenAI's: strict, with a persona that needs no model."""
