"""A conversation without I/O: whose turn it is, when it ends, and what was said."""
