# One profile for everything: zstd and the ciphers are useless unoptimised, and one build serves all.
.PHONY: all check test

all:
	cargo build --release --locked

check:
	cargo fmt --check
	cargo clippy --release --locked --all-targets -- --deny warnings

test: all
	cargo test --release --locked
