# One profile for everything: zstd and the ciphers are useless unoptimised, and one build serves all.
.PHONY: all check test test-tools demo

TEST_TOOLS := target/test-tools

all:
	cargo build --release --locked

# Scripts by their first line, so that a new one is checked without being listed here.
BASH_SCRIPTS = $(shell grep --recursive --files-with-matches --extended-regexp '^#!.*bash|^\# shellcheck shell=bash' scripts tests .ci)

check: test-tools
	cargo fmt --check
	cargo clippy --release --locked --all-targets -- --deny warnings
	shellcheck --external-sources $(BASH_SCRIPTS)
	mandoc -T lint -W warning man/*.[1-8]

# What the tests need beside Rust: Debian packages, and the servers that Debian 12 does not have.
test-tools:
	tests/tools/install-debian.sh
	tests/tools/install-postgres.sh $(TEST_TOOLS)/postgres

test: all test-tools
	cargo test --release --locked

demo: all
	demo/run.sh
