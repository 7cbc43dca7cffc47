#!/bin/sh
# Logs in, asks for an order and pays for one, through the gateway: shop.sh [BASE], default http://127.0.0.1:8080.
set -eu
base=${1:-http://127.0.0.1:8080}
# By itself: a pipe would end as sed ends, whatever became of the login.
login=$(curl -fsS "$base/login" -H 'content-type: application/json' -d '{"user":"alice","password":"wonderland"}')
token=$(printf '%s' "$login" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
curl -fsS "$base/orders/7" -H "authorization: Bearer $token"; echo
curl -fsS "$base/orders" -H "authorization: Bearer $token" -H 'content-type: application/json' -d '{"amount":12}'; echo
