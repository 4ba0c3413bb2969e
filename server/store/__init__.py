"""What outlives one stream of a call."""
