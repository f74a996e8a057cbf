#!/bin/sh
# cargo-deny, where it is or can be installed; advisories where their database can be fetched.
set -eu
if ! command -v cargo-deny >/dev/null 2>&1; then
    echo 'cargo-deny is not here; installing it (once, some minutes)'
    cargo install --locked --quiet cargo-deny || { echo 'cargo-deny cannot be installed here: licences and bans are not checked'; exit 0; }
fi
cargo deny --all-features check --hide-inclusion-graph bans licenses sources
if timeout 60 cargo deny fetch db >/dev/null 2>&1; then
    cargo deny check --hide-inclusion-graph advisories
else
    echo 'the advisory database cannot be fetched here: advisories are not checked'
fi
