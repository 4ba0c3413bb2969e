"""One connection of the fault proxy, under the name by which the tests know it."""

from server.simulator.faults_tcp.connection import READ, Connection, Direction, End, Plan, Way

__all__ = ["READ", "Connection", "Direction", "End", "Plan", "Way"]
