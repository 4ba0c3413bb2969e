"""Whoever reads the log goes away, and calls are answered as before."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from tests.integration.calls import eventually, make_call, speech
from tests.integration.gunicorn_process import GunicornProcess, descendants_of

GUNICORN = f'{sys.executable} -m gunicorn -k eventlet -w 1 -b "127.0.0.1:$PORT" server.main:app'
READS_A_LITTLE = f"exec {GUNICORN} > >(head -n 4) 2>&1"


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_log_that_nobody_reads_any_more_costs_nothing() -> None:
    env = {"ECHO_TEST": "1", "OPENAI_API_KEY": "sk-test-0123456789abcdef"}
    with GunicornProcess(env=env, command=["bash", "-c", READS_A_LITTLE]) as process:
        assert make_call(process, speech("human_command"), quiet_after_s=0.3).run().verdict == "PASS"
        eventually(lambda: len(descendants_of(process.pid)) == 1)  # the reader is gone
        (worker,) = descendants_of(process.pid)
        began_s, used_s = time.monotonic(), cpu_s(worker)
        report = make_call(process, speech("human_command"), quiet_after_s=0.3).run()
        assert report.verdict == "PASS", report.failures
        assert cpu_s(worker) - used_s < 0.5 * (time.monotonic() - began_s)
