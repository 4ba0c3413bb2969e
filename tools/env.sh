# shellcheck shell=bash
# Finding a Python and keeping virtual environments up to date; sourced by start_all.sh and test_all.sh
# in the repository's root. Written for bash 3.2, which macOS still ships.

say() { printf 'kav: %s\n' "$*" >&2; }

fail() {
  say "$*"
  exit 2
}

# Run it to know: a pyenv shim exists for every version and works only for the chosen ones.
is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }

# find_exact 3.12: the path of a Python of just this version, or nothing.
find_exact() {
  local candidate
  for candidate in "python$1" "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$1".*/bin/python; do
    if [ "$(version_of "$candidate")" = "$1" ]; then
      command -v "$candidate"
      return
    fi
  done
}

# The Python to make environments from: $PYTHON, or the newest of the versions that are tested.
find_python() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    is_new_enough "$PYTHON" || fail "PYTHON=$PYTHON is not a Python of 3.11 or newer"
    printf '%s\n' "$PYTHON"
    return
  fi
  for candidate in "$(find_exact 3.13)" "$(find_exact 3.12)" "$(find_exact 3.11)" python3 python /usr/bin/python3; do
    if [ -n "$candidate" ] && is_new_enough "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  fail "no Python of 3.11 or newer found; install one, or name it: PYTHON=/path/to/python3 $0"
}

# make_venv DIR PYTHON: a virtual environment of that Python's version, made anew only if there is none.
make_venv() {
  local version
  version=$(version_of "$2")
  if [ "$(version_of "$1/bin/python")" = "$version" ] && "$1/bin/python" -c 'import pip' 2>/dev/null; then
    return
  fi
  if ! "$2" -c 'import ensurepip, venv' 2>/dev/null; then
    install_venv_package "python$version-venv"
  fi
  say "making $1 with Python $version"
  rm -rf "$1"
  "$2" -m venv "$1"
}

# Debian and Ubuntu ship Python without the part that makes virtual environments.
install_venv_package() {
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing $1"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >&2
  else
    fail "this Python cannot make virtual environments; once: sudo apt-get install $1"
  fi
}

# install_into DIR FILE: the requirements of FILE, if they changed since the last time.
# PIP_USER: Replit sets it, and it is an error inside a virtual environment.
install_into() {
  local stamp="$1/.installed-$2" hash
  hash=$(cat requirements.txt "$2" | cksum)
  if [ "$(cat "$stamp" 2>/dev/null || true)" = "$hash" ]; then
    return
  fi
  say "installing $2 into $1"
  PIP_USER=0 "$1/bin/python" -m pip install --quiet --disable-pip-version-check -r "$2" >&2
  printf '%s\n' "$hash" >"$stamp"
}
