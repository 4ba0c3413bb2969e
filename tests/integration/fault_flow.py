"""The fault proxy's bookkeeping of one direction, under the name by which the tests know it."""

from server.simulator.faults_tcp.flow import MAX_IN_FLIGHT_BYTES, QUANTUM_S, Flow, Weather

__all__ = ["MAX_IN_FLIGHT_BYTES", "QUANTUM_S", "Flow", "Weather"]
