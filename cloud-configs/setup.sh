#!/bin/sh
# First step of an installation, run by setup.service of a live image: fetches the installer (pxe.sh) and
# becomes it. The server sends this text behind lines that set FL_PXE_URL and FL_TOKEN.
set -u
export LC_ALL=C
umask 077
script=${FL_RUN:=/run/firstlight}/pxe.sh
mkdir -p "$FL_RUN"
[ -p "$script.wire" ] || mkfifo "$script.wire"

# Writes pxe.sh and sets STATUS; curl where there is one, else the little HTTP/1.0 needed spoken over nc
# (why so: install.sh). The token is in no argument that `ps` shows.
fetch() {
    rm -f "$script.headers" "$script.raw" "$script.new"
    if command -v curl >/dev/null 2>&1; then
        printf '%s\n' "url = \"$FL_PXE_URL\"" "output = \"$script.new\"" "dump-header = \"$script.headers\"" 'noproxy = "*"' \
            "header = \"Authorization: Bearer $FL_TOKEN\"" silent "max-time = 30" | curl -q -K -
    else
        rest=${FL_PXE_URL#http://}
        host=${rest%%/*}
        port=80
        case $host in
            *\]) ;;
            *:*) port=${host##*:} ;;
        esac
        printf 'GET %s HTTP/1.0\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n' "/${rest#*/}" "$host" "$FL_TOKEN" >"$script.request"
        host=${host%:"$port"}
        host=${host#\[}
        (
            exec 7<>"$script.wire"
            cat "$script.request" >&7
            timeout 30 nc -w 5 "${host%\]}" "$port" <&7 >"$script.raw" 2>/dev/null
        )
        tr -d '\r' <"$script.raw" | sed '/^$/q' >"$script.headers"
        # The text is ours and has no carriage returns, so they may all go to find where it begins.
        tr -d '\r' <"$script.raw" | sed '1,/^$/d' >"$script.new"
    fi
    STATUS=$(sed -n 's/^HTTP[^ ]* \([0-9][0-9][0-9]\).*/\1/p' "$script.headers" 2>/dev/null | tail -n 1)
}

pause=1
while :; do
    fetch
    # A text that was cut off lacks its last line.
    if [ "$STATUS" = 200 ] && [ "$(tail -n 1 "$script.new")" = main ]; then break; fi
    case $STATUS in
        401 | 403 | 404 | 409 | 410)
            echo "setup: the server says that this attempt is over ($STATUS): nothing is touched, waiting for power"
            exit 3
            ;;
    esac
    echo "setup: no installer yet (answer ${STATUS:-none}); again in ${pause}s"
    sleep "$pause"
    pause=$((pause < 15 ? pause * 2 : 15))
done
mv "$script.new" "$script"
exec sh "$script"
