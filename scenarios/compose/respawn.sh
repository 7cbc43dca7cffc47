#!/bin/bash
# respawn.sh COMMAND...: runs the command, and again RESTART_DELAY seconds after it ended by itself. With KILL_FILE, the
# command is killed whenever that file appears.
child=
trap 'kill -TERM "$child" 2>/dev/null; wait "$child"; exit 0' TERM INT
while :; do
  "$@" &
  child=$!
  if [ -n "$KILL_FILE" ]; then
    while kill -0 "$child" 2>/dev/null; do
      if [ -e "$KILL_FILE" ]; then
        rm -f "$KILL_FILE"
        kill -KILL "$child"
      fi
      sleep 0.2 &
      wait $!
    done
  fi
  wait "$child"
  echo "respawn: ended with $?, again in ${RESTART_DELAY:-3} s" >&2
  sleep "${RESTART_DELAY:-3}" &
  child=$!
  wait "$child"
done
