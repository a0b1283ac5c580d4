#!/bin/sh
# Installs what a build of varve needs on Debian: a C compiler (zstd, aws-lc),
# mold (links DataFusion binaries in seconds), protoc (etcd-client's build script).
# Does nothing when all is there.
# TEST_TOOLS=1, which `make test` sets, adds the servers and clients that tests drive;
# CLIENTS=folder, too, Python's packages of tests/clients.txt where they can be fetched.
set -eu

want=""
command -v cc >/dev/null 2>&1 || want="$want build-essential"
command -v mold >/dev/null 2>&1 || want="$want mold"
command -v protoc >/dev/null 2>&1 || want="$want protobuf-compiler"
command -v curl >/dev/null 2>&1 || want="$want curl"
if [ "${TEST_TOOLS:-0}" = 1 ]; then
    command -v psql >/dev/null 2>&1 || want="$want postgresql-client"
    command -v etcd >/dev/null 2>&1 || want="$want etcd-server"
    command -v mysql >/dev/null 2>&1 || want="$want default-mysql-client"
fi
if [ -n "${CLIENTS:-}" ]; then
    python3 -c 'import ensurepip' >/dev/null 2>&1 || want="$want python3-venv"
fi

if [ -n "$want" ]; then
    echo "setup: installing$want"
    if [ "$(id -u)" = 0 ]; then run=""; else run="sudo"; fi
    $run apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $run apt-get install -y -qq $want >/dev/null
fi

if ! command -v cargo >/dev/null 2>&1; then
    echo "setup: cargo not found; install Rust 1.95 or later (https://rustup.rs), then run this again" >&2
    exit 1
fi

if [ -n "${CLIENTS:-}" ] && ! cmp -s tests/clients.txt "$CLIENTS/clients.txt"; then
    echo "setup: fetching Python clients for the tests"
    if timeout 120 python3 -m venv "$CLIENTS" >/dev/null 2>&1 &&
        timeout 300 "$CLIENTS/bin/pip" install -q --disable-pip-version-check -r tests/clients.txt >/dev/null 2>&1; then
        cp tests/clients.txt "$CLIENTS/clients.txt"
    else
        rm -rf "$CLIENTS"
        echo "setup: they could not be fetched; their tests say 'skipped'" >&2
    fi
fi
