"""Twilio without I/O: messages, TwiML, signatures, call tokens, the playout ledger."""
