#!/usr/bin/env bash
# podman 4.3.1 with runc 1.1.5 (Debian bookworm), as root on a machine whose root lacks CAP_SYS_RESOURCE, as in many sandboxes.
#
# `podman run IMAGE true` ends with "error setting rlimit type 6: operation not permitted": podman gives every container
# of root's a limit of 1048576 or 4194304 processes (RLIMIT_NPROC), also where its own hard limit is below that and nobody
# asked for one. `--ulimit host`, which is to take the host's limits, is refused for open files (type 7) instead.
#
# Seen: `--ulimit nofile=1000:1000`: refused; `--ulimit host`: refused; `--ulimit nproc=1000:1000 --ulimit nofile=1000:1000`: runs.
# What helps: name both limits, at or below the hard limits of the shell (tests/containers.py).
set -euo pipefail
command -v podman > /dev/null || { echo "podman is not here: nothing to see"; exit 0; }
image=$(podman images --format '{{.Repository}}:{{.Tag}}' | grep -v none | head -1 || true)
[ -n "$image" ] || { echo "there is no image here: nothing to see"; exit 0; }
try() {
  if said=$(podman run --rm --network host --no-healthcheck "$@" "$image" true 2>&1); then
    echo runs
  else
    echo "${said##*error setting}"
  fi
}
expect() { # what is to be said, then the flags
  local wanted=$1 found
  shift
  found=$(try "$@")
  echo "$*: $found"
  [[ $found == *"$wanted"* ]] || { echo "the behaviour has changed: \`$wanted\` was seen"; exit 1; }
}
expect runs --ulimit nproc=1000:1000 --ulimit nofile=1000:1000
expect "rlimit type 7: operation not permitted" --ulimit host
expect "rlimit type 6: operation not permitted" --ulimit nofile=1000:1000
