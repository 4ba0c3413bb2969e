#!/usr/bin/env bash
# Makes what a bare machine lacks, then answers calls: the Node side-car, if there is one, and gunicorn.
#
# Ctrl-C or SIGTERM stops both: gunicorn lets calls finish (up to 24 s), a second Ctrl-C stops at once.
# Exit status: gunicorn's; 2 when the settings contradict each other or no Python can be had.
# PORT (5000), SIDECAR_DIR (baileys), PYTHON, KAV_NO_VENV=1 (use the packages of $PYTHON or python3 as they
# are), KAV_APP (another WSGI app than server.main:app; the tests of this script).
set -euo pipefail
cd "$(dirname "$0")"
. tools/env.sh

export PORT="${PORT:-5000}"
sidecar_dir="${SIDECAR_DIR:-baileys}"
app="${KAV_APP:-server.main:app}"

# One worker is what runs below. Heroku's buildpack proposes more by the size of the dyno.
export WEB_CONCURRENCY=1

# Heroku's buildpack has installed the packages: a virtual environment would take a minute of every start.
python="${PYTHON:-python3}"
if [ "${KAV_NO_VENV:-}" != 1 ] &&
  ! { [ -n "${DYNO:-}" ] && "$python" -c 'import gunicorn, flask_sock, eventlet, twilio' 2>/dev/null; }; then
  python=$(find_python)
  make_venv .venv "$python"
  install_into .venv requirements.txt
  python=.venv/bin/python
fi

"$python" -m server config --banner || exit "$?"

gunicorn_pid=
sidecar_pid=
signals=0

# Each child leads a process group of its own: Ctrl-C then reaches only this script, which asks gunicorn
# nicely, and a signal to the side-car's group reaches npm, node and whatever they started.
set -m

start_sidecar() {
  if [ ! -f "$sidecar_dir/package.json" ]; then
    return
  fi
  if ! command -v npm >/dev/null; then
    say "side-car: $sidecar_dir is there, npm is not; going on without it"
    return
  fi
  say "side-car: starting in $sidecar_dir"
  run_sidecar </dev/null &
  sidecar_pid=$!
}

# In the background from its first step, so that calls need not wait for npm.
run_sidecar() {
  set +e
  unset PORT # it is gunicorn's
  cd "$sidecar_dir" || return
  if [ ! -d node_modules ] && grep -q '"dependencies"' package.json; then
    if [ -f package-lock.json ]; then npm ci --omit=dev; else npm install --omit=dev; fi
  fi
  npm start
  say "side-car: ended with status $?; calls go on without it"
}

signal_gunicorn() {
  signals=$((signals + 1))
  if [ -n "$gunicorn_pid" ]; then kill -s "$1" "$gunicorn_pid" 2>/dev/null || true; fi
}

signal_sidecar() {
  if [ -n "$sidecar_pid" ]; then kill -s "$1" -- "-$sidecar_pid" 2>/dev/null; else return 1; fi
}

stop() {
  signal_gunicorn TERM
  signal_sidecar TERM || true
}

stop_by_key() {
  if [ "$signals" = 0 ]; then stop; else signal_gunicorn QUIT; fi
}

trap stop TERM HUP
trap stop_by_key INT

start_sidecar
"$python" -m gunicorn -k eventlet -w 1 -b "0.0.0.0:$PORT" "$app" </dev/null &
gunicorn_pid=$!
if [ "$signals" -gt 0 ]; then stop; fi # it came before there was anybody to pass it on to

# A signal ends `wait` early, after its trap has run: then the status is not gunicorn's yet.
seen=-1
while [ "$seen" != "$signals" ]; do
  seen=$signals
  status=0
  wait "$gunicorn_pid" || status=$?
done

# Two seconds for the side-car to follow; platforms allow 30 s in all, of which gunicorn may take 27.
signal_sidecar TERM || true
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  signal_sidecar 0 || break
  sleep 0.1
done
signal_sidecar KILL || true
exit "$status"
