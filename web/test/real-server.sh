#!/usr/bin/env bash
# Runs the browser tests against the real server: with a real fleet, and with parked drivers while the map moves. Called with `kill` or `start` it does that to the server: the test calls it so.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# The test calls without what begins with WAYPOST_.
export BIN=${WAYPOST_BIN:-${BIN:-$here/../../target/debug}}

start() {
  "$BIN/waypost" serve --data "$STATE/data" --listen "${LISTEN:-127.0.0.1:0}" > "$STATE/out" 2>> "$STATE/log" &
  echo $! > "$STATE/pid"
  for _ in $(seq 200); do
    grep -q '^listening on ' "$STATE/out" && return 0
    sleep 0.05
  done
  echo "the server did not start:" >&2
  cat "$STATE/log" >&2
  return 1
}

stop() { kill -9 "$(cat "$STATE/pid")" 2> /dev/null || true; }

case "${1:-all}" in
  kill) stop ;;
  start) start ;;
  all)
    STATE=$(mktemp -d)
    export STATE
    trap 'stop; kill "${fleet:-}" 2> /dev/null || true; rm -rf "$STATE"' EXIT
    key=$("$BIN/waypost" keys create --data "$STATE/data" --tenant browser --role admin)
    start
    url=$(sed -n 's/^listening on //p' "$STATE/out")
    export LISTEN=${url#http://}
    "$BIN/waypost-sim" fleet --url "$url" --key "$key" --drivers 1500 --seconds 600 > "$STATE/fleet" 2>&1 &
    fleet=$!
    if ! WAYPOST_URL=$url WAYPOST_KEY=$key WAYPOST_CTL=$here/real-server.sh node "$here/browser.test.mjs"; then
      tail -n 20 "$STATE/log" "$STATE/fleet" >&2
      exit 1
    fi
    kill "$fleet"
    WAYPOST_BIN=$BIN node "$here/motion.test.mjs"
    ;;
  *) echo "usage: real-server.sh [kill|start]" >&2; exit 2 ;;
esac
