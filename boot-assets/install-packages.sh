#!/bin/sh
# Installs the Debian packages of packages.txt that this machine does not have.
set -eu
cd "$(dirname "$0")"
missing=
while read -r name _; do
    case $name in '' | '#'*) continue ;; esac
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing="$missing $name"
done <packages.txt
if [ -z "$missing" ]; then
    exit 0
fi
echo "firstlight: these Debian packages are missing and will be installed:$missing"
if [ "$(id -u)" -ne 0 ]; then
    echo "firstlight: that needs root; run this as root, or: sudo apt-get install$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# The words of $missing are package names.
# shellcheck disable=SC2086
apt-get install -q -y --no-install-recommends $missing
