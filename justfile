# Commands for working on s3delta. `just` lists them; `just check` is what a change must pass.

export S3DELTA_WEB := env("S3DELTA_WEB", "require")

# List the commands.
_default:
    @just --list --unsorted

# Everything a change must pass.
check: fmt clippy doc test deny openapi web

# Formatting, without changing anything.
fmt:
    cargo fmt --check

# Lints; a warning is an error.
clippy:
    cargo clippy --release --all-targets -- -D warnings

# The documentation builds, and its links hold.
doc $RUSTDOCFLAGS="-D warnings":
    cargo doc --release --no-deps --lib

# All tests.
test:
    cargo test --release

# The numbers of transformers, made anew by all scripts of tests/reference and compared; make.py says how to install.
parity python=env("S3DELTA_PEERS", "target/peers/bin/python"):
    #!/usr/bin/env bash
    set -euo pipefail
    made=$(mktemp -d)
    trap 'rm -rf "$made"' EXIT
    "{{ python }}" tests/reference/make.py --out "$made"
    for script in tests/reference/*.py; do
        # the others may build on what make.py makes; a file without the flag is a part of one of them
        if [ "$script" != tests/reference/make.py ] && grep -q -e '"--out"' "$script"; then
            "{{ python }}" "$script" --out "$made"
        fi
    done
    S3DELTA_PARITY=$made cargo test --release --test it -- parity decoding tokenizer

# Licences, sources and banned crates.
deny:
    cargo deny check bans licenses sources

# openapi/openapi.json equals what the routes say.
openapi:
    cargo test --release --test it openapi | tee /dev/stderr | grep -q '[1-9][0-9]* passed'

# Write openapi/openapi.json and the web page's types anew, after a change of the routes.
generate:
    S3DELTA_BLESS=1 cargo test --release --test it openapi
    cd web && npm ci --ignore-scripts --no-audit --no-fund && npm run generate:api

# Types of the web page, those made from openapi/openapi.json too, and its unit tests.
web:
    cd web && npm ci --ignore-scripts --no-audit --no-fund && npm run check

# Known security holes in the dependencies; fetches the advisory database.
audit:
    cargo deny check advisories

# The binary for NVIDIA GPUs (12 minutes from cold on 2 cores). See docs/gpu-checklist.md.
cuda:
    cargo build --release --features cuda

# What runs before a merge: `check` without extra tools, plus quickstart and the page in Chromium.
ci:
    .ci/run
