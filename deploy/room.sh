#!/bin/sh
# Runs a room (`room services.dedupe`). Docker starts again whatever ends with a code other than 0; a room that halted on a broken
# invariant ends with 3 and must stay down until a person has looked. So its container stays, unready, and its last log line with it.
python -m "$@" &
room=$!
trap 'kill -TERM "$room"' TERM INT
# The first wait ends with the signal, the second with the room.
wait "$room"
code=$?
while kill -0 "$room" 2>/dev/null; do
    wait "$room"
    code=$?
done
if [ "$code" -eq 3 ]; then
    echo "halted: see docs/runbook/TrueupRoomDown.md; start this container again when its cause is mended" >&2
    trap 'exit 0' TERM INT
    while :; do sleep 3600 & wait $!; done
fi
exit "$code"
