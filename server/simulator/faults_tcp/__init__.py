"""Bad weather on the wire: a TCP proxy between the gateway and either of its far ends."""
