"""The product's fault proxy, under the name by which the tests know it."""

from server.simulator.faults_tcp.proxy import COMMAND_WAIT_S, Counts, Fault, FaultProxy

__all__ = ["COMMAND_WAIT_S", "Counts", "Fault", "FaultProxy"]
