#!/bin/bash
# respawn.sh COMMAND...: runs the command, and again RESTART_DELAY seconds after it ended by itself.
child=
trap 'kill -TERM "$child" 2>/dev/null; wait "$child"; exit 0' TERM INT
while :; do
  "$@" &
  child=$!
  wait "$child"
  echo "respawn: ended with $?, again in ${RESTART_DELAY:-3} s" >&2
  sleep "${RESTART_DELAY:-3}" &
  child=$!
  wait "$child"
done
