"""The two far ends, strict and over real sockets: a Twilio and a Realtime server."""
