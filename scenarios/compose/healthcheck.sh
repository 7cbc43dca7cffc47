#!/bin/bash
# healthcheck.sh PORT PATH: succeeds when http://127.0.0.1:PORT/PATH answers 200.
# healthcheck.sh PORT: succeeds when the Redis on that port answers PING.
exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
if [ $# = 1 ]; then
  printf 'PING\r\n' >&3
  read -r -t 4 answer <&3
  [ "${answer%$'\r'}" = +PONG ]
  exit
fi
printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$2" >&3
read -r -t 4 _ status _ <&3
[ "$status" = 200 ]
