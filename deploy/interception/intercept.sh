#!/bin/sh
# Sends the TCP connections of a network namespace through the sidecar in it, without the application's help.
#
#   intercept.sh up       sets the rules; again: sets them anew
#   intercept.sh down     takes them away; again: does nothing
#   intercept.sh status   prints them; exits 1 if there are none
#
# Runs once, with NET_ADMIN and NET_RAW, in the namespace: as an init container, say. The settings are environment variables:
#
#   PROXY_UID               user id of the sidecar, whose own connections are left alone. Needed: without it they would come back to it.
#   OUTBOUND_PORT           port of its outbound listener (15001); empty: nothing that goes out is intercepted
#   INBOUND_PORT            port of its inbound listener (15006); empty: nothing that comes in is intercepted
#   ADMIN_PORT              port of its admin server (15000), which stays reachable
#   OPAQUE_PORTS            what is not HTTP, as destination:listener: 5432:15432,6379:16379
#   EXCLUDE_OUTBOUND_PORTS  destination ports that are left alone (53,443: TLS and DNS are no HTTP)
#   EXCLUDE_OUTBOUND_CIDRS  destinations that are left alone: 169.254.169.254/32,10.1.0.0/16,fd00::/8
#   EXCLUDE_INBOUND_PORTS   ports of the application that are left alone
#   IPV6                    on | off | auto (auto: on where the kernel and ip6tables can; the listeners must then listen on :: too)
#
# Loopback is never intercepted, in neither direction.
set -eu

PROXY_UID=${PROXY_UID:-}
OUTBOUND_PORT=${OUTBOUND_PORT-15001}
INBOUND_PORT=${INBOUND_PORT-15006}
ADMIN_PORT=${ADMIN_PORT-15000}
OPAQUE_PORTS=${OPAQUE_PORTS:-}
EXCLUDE_OUTBOUND_PORTS=${EXCLUDE_OUTBOUND_PORTS-53,443}
EXCLUDE_OUTBOUND_CIDRS=${EXCLUDE_OUTBOUND_CIDRS:-}
EXCLUDE_INBOUND_PORTS=${EXCLUDE_INBOUND_PORTS:-}
IPV6=${IPV6:-auto}

out=SIDECAR_OUTBOUND
in=SIDECAR_INBOUND
problems=0

problem() {
  echo "intercept: $1" >&2
  problems=1
}

is_port() {
  case $1 in '' | *[!0-9]* | ??????*) return 1 ;; esac
  [ "$1" -ge 1 ] && [ "$1" -le 65535 ]
}

words() {
  echo "$1" | tr ',' ' '
}

check() {
  case $PROXY_UID in '' | *[!0-9]*) problem "PROXY_UID: expected the sidecar's user id, got '$PROXY_UID'" ;; esac
  for name in OUTBOUND_PORT INBOUND_PORT ADMIN_PORT; do
    eval "value=\$$name"
    [ -z "$value" ] || is_port "$value" || problem "$name: expected a port, got '$value'"
  done
  for name in EXCLUDE_OUTBOUND_PORTS EXCLUDE_INBOUND_PORTS; do
    eval "value=\$$name"
    for port in $(words "$value"); do is_port "$port" || problem "$name: expected ports, got '$port'"; done
  done
  for pair in $(words "$OPAQUE_PORTS"); do
    case $pair in
      *:*) is_port "${pair%%:*}" && is_port "${pair#*:}" || problem "OPAQUE_PORTS: expected destination:listener, got '$pair'" ;;
      *) problem "OPAQUE_PORTS: expected destination:listener, got '$pair'" ;;
    esac
  done
  for cidr in $(words "$EXCLUDE_OUTBOUND_CIDRS"); do
    case $cidr in *[!0-9a-fA-F.:/]*) problem "EXCLUDE_OUTBOUND_CIDRS: expected an address or a CIDR, got '$cidr'" ;; esac
  done
  case $IPV6 in on | off | auto) ;; *) problem "IPV6: expected on, off or auto, got '$IPV6'" ;; esac
  [ "$problems" = 0 ] || exit 64
}

# The rules of one family, as iptables-restore takes them: all at once, so that no connection meets half of them.
rules() {
  loopback=$1
  separator=$2
  echo '*nat'
  # Naming a chain makes it, or empties it.
  echo ":$out - [0:0]"
  echo ":$in - [0:0]"
  if [ -n "$OUTBOUND_PORT" ] || [ -n "$OPAQUE_PORTS" ]; then
    # First of all: what the sidecar itself sends must never come back to it.
    echo "-A $out -m owner --uid-owner $PROXY_UID -j RETURN"
    echo "-A $out -o lo -j RETURN"
    echo "-A $out -d $loopback -j RETURN"
    for cidr in $(words "$EXCLUDE_OUTBOUND_CIDRS"); do
      case $cidr in *:*) family=: ;; *) family=. ;; esac
      [ "$family" != "$separator" ] || echo "-A $out -d $cidr -j RETURN"
    done
    for pair in $(words "$OPAQUE_PORTS"); do echo "-A $out -p tcp --dport ${pair%%:*} -j REDIRECT --to-ports ${pair#*:}"; done
    for port in $(words "$EXCLUDE_OUTBOUND_PORTS"); do echo "-A $out -p tcp --dport $port -j RETURN"; done
    [ -z "$OUTBOUND_PORT" ] || echo "-A $out -p tcp -j REDIRECT --to-ports $OUTBOUND_PORT"
  fi
  if [ -n "$INBOUND_PORT" ]; then
    echo "-A $in -i lo -j RETURN"
    for port in $INBOUND_PORT $ADMIN_PORT $(words "$EXCLUDE_INBOUND_PORTS"); do echo "-A $in -p tcp --dport $port -j RETURN"; done
    echo "-A $in -p tcp -j REDIRECT --to-ports $INBOUND_PORT"
  fi
  echo COMMIT
}

families() {
  echo iptables
  case $IPV6 in
    on) echo ip6tables ;;
    auto) if command -v ip6tables >/dev/null && [ -e /proc/net/if_inet6 ] && ip6tables -w -t nat -L -n >/dev/null 2>&1; then echo ip6tables; fi ;;
  esac
}

up() {
  check
  wanted=$(families)
  # Of a family that is not wanted any more, rules would go on with the settings of before.
  case $wanted in *ip6tables*) ;; *) clear_tables ip6tables ;; esac
  for tables in $wanted; do
    if [ "$tables" = iptables ]; then rules 127.0.0.0/8 .; else rules ::1/128 :; fi | "$tables-restore" -w --noflush
    "$tables" -w -t nat -C OUTPUT -p tcp -j "$out" 2>/dev/null || "$tables" -w -t nat -A OUTPUT -p tcp -j "$out"
    "$tables" -w -t nat -C PREROUTING -p tcp -j "$in" 2>/dev/null || "$tables" -w -t nat -A PREROUTING -p tcp -j "$in"
  done
}

down() {
  for tables in iptables ip6tables; do clear_tables "$tables"; done
}

clear_tables() {
  command -v "$1" >/dev/null || return 0
  for jump in "OUTPUT $out" "PREROUTING $in"; do
    while "$1" -w -t nat -D "${jump% *}" -p tcp -j "${jump#* }" 2>/dev/null; do :; done
    "$1" -w -t nat -F "${jump#* }" 2>/dev/null || continue
    "$1" -w -t nat -X "${jump#* }"
  done
}

status() {
  found=1
  for tables in iptables ip6tables; do
    command -v "$tables" >/dev/null || continue
    for chain in "$out" "$in"; do
      if "$tables" -w -t nat -S "$chain" 2>/dev/null; then found=0; fi
    done
  done
  return $found
}

case ${1:-} in
  up) up ;;
  down) down ;;
  status) status ;;
  *)
    echo 'usage: intercept.sh up | down | status' >&2
    exit 64
    ;;
esac
