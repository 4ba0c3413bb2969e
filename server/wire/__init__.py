"""Wire framing without I/O."""
