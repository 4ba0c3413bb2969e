"""How gunicorn runs Kav; read by itself from the folder gunicorn is started in.

    gunicorn -k eventlet -w 1 -b 0.0.0.0:$PORT server.main:app

Options on the command line win over this file. It runs in the arbiter, which is never patched:
nothing here may import eventlet.
"""

import os
import signal
import sys

from gunicorn.workers import SUPPORTED_WORKERS

# gunicorn 26 dropped its own eventlet worker; this file is loaded before the name given to -k is looked up.
SUPPORTED_WORKERS["eventlet"] = "server.worker.EventletWorker"

worker_class = "eventlet"
bind = "0.0.0.0:" + (os.environ.get("PORT") or "5000")  # every platform names its port in PORT
workers = int(os.environ.get("WEB_CONCURRENCY") or 1)  # live calls are in one process

# Heroku, the strictest platform, kills 30 s after SIGTERM. Calls end at 24 s, see server/worker.py.
graceful_timeout = 27

# The heartbeat is a greenlet: a miss means every call has been silent that long. The app's import,
# seconds on a small dyno's cold disk, beats not at all and must fit in.
timeout = 30

# Far above MAX_CALLS: a full pool leaves webhooks hanging unanswered, the app itself refuses politely.
worker_connections = 4000

keepalive = 5  # seconds; lets a proxy reuse a connection; also how long a client may take over its headers

# With one worker, gunicorn starts no successor until the last call has ended: an outage, not a remedy.
max_requests = 0

# Nobody here uses gunicornc; its thread would stop and start around each fork, and two gateways of one
# user would fight for one socket in the home directory.
control_socket_disable = True

# The heartbeat touches a file: in memory, where a stalling disk cannot stall the calls.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

accesslog = None  # a call has log lines of its own; health checks would bury them


def on_starting(server):
    # What really runs, not what the platform proposed: Heroku's buildpack sets 2 and more by itself.
    os.environ["WEB_CONCURRENCY"] = str(server.cfg.workers)
    _check_settings()


def _check_settings():
    """End with status 2 and one message when the variables or the businesses' file cannot be used.

    In the arbiter, before it listens: a worker that fails would only be started again.
    """
    from server.businesses_file import read_businesses
    from server.config import Settings
    from server.errors import ConfigError

    try:
        read_businesses(Settings.from_env(os.environ))
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def post_fork(server, worker):
    """Let a worker that is not ready yet end when told to.

    Until gunicorn sets the worker's own handlers it still has the arbiter's, which put the signal
    into a queue that nobody reads here: a SIGTERM in that window cost the whole graceful_timeout.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: os._exit(0))
