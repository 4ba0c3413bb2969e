#!/usr/bin/env bash
# Makes what a bare machine lacks, then runs the tests.
#
#   ./test_all.sh                     everything on one Python, and what is not marked `once` (calls in real
#                                     time) on every other of 3.11, 3.12 and 3.13 there is
#   ./test_all.sh tests/unit -k mark  these arguments for pytest, on one Python
#
# KAV_TEST_ONE=1: everything, on one Python. PYTHON: which one that is; otherwise the newest.
# The last lines are pytest's own for that Python; the exit status is 1 when any run failed.
set -euo pipefail
cd "$(dirname "$0")"
. tools/env.sh

python=$(find_python)
make_venv .venv "$python"
install_into .venv requirements-dev.txt
main_version=$(version_of .venv/bin/python)

run_others() {
  local version other venv
  for version in 3.11 3.12 3.13; do
    if [ "$version" = "$main_version" ]; then
      continue
    fi
    other=$(find_exact "$version")
    if [ -z "$other" ]; then
      report="$report, $version not found"
      continue
    fi
    venv=".venv-$version"
    make_venv "$venv" "$other"
    install_into "$venv" requirements-dev.txt
    say "tests on Python $version"
    if "$venv/bin/python" -m pytest -m "not once"; then
      report="$report, $version passed"
    else
      report="$report, $version FAILED"
      status=1
    fi
  done
}

status=0
report=
if [ "$#" = 0 ] && [ "${KAV_TEST_ONE:-}" != 1 ]; then
  run_others
  say "Python${report#,}; now $main_version"
fi
.venv/bin/python -m pytest "$@" || status=1
exit "$status"
