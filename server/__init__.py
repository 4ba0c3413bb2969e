"""Kav: answers a business's phone with a realtime voice AI. Rooms and arrows: docs/architecture.md."""

__version__ = "0.1.0"
