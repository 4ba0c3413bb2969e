"""Samples without I/O: G.711 μ-law, framing, voice detection, WAV."""
