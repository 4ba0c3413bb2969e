"""A Twilio to call a gateway with: strict about every message, with a line that plays in real time."""
