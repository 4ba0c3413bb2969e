"""One client per outside party."""
