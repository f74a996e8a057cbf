#!/bin/sh
# Installs the Debian packages of the given lists that this machine does not have. Their services
# (a PostgreSQL, an etcd) are not started: only the programs are wanted.
set -eu
[ $# -gt 0 ] || { echo "usage: install-packages.sh LIST..." >&2; exit 2; }
missing=
for list; do
    while read -r name _; do
        case $name in '' | '#'*) continue ;; esac
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing="$missing $name"
    done <"$list"
done
if [ -z "$missing" ]; then
    exit 0
fi
echo "firstlight: these Debian packages are missing and will be installed:$missing"
if [ "$(id -u)" -ne 0 ]; then
    echo "firstlight: that needs root; run this as root, or: sudo apt-get install$missing" >&2
    exit 1
fi
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# The words of $missing are package names.
# shellcheck disable=SC2086
apt-get install -q -y --no-install-recommends $missing
