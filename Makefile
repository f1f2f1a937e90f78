# One profile for everything: zstd and the ciphers are useless unoptimised, and one build serves all.
.PHONY: all check test test-long test-tools demo bench install deb

TEST_TOOLS := target/test-tools

all:
	cargo build --release --locked

# Scripts by their first line, so that a new one is checked without being listed here.
BASH_SCRIPTS = $(shell grep --recursive --files-with-matches --extended-regexp '^#!.*bash|^\# shellcheck shell=bash' scripts tests bench demo .ci)

check: test-tools
	cargo fmt --check
	cargo clippy --release --locked --all-targets -- --deny warnings
	shellcheck --external-sources $(BASH_SCRIPTS)
	mandoc -T lint -W warning man/*.[1-8]

# What the tests need beside Rust: Debian packages, and the servers that Debian 12 does not have.
test-tools:
	tests/tools/install-debian.sh
	tests/tools/install-postgres.sh $(TEST_TOOLS)/postgres
	tests/tools/install-s3.sh $(TEST_TOOLS)/s3
	tests/tools/install-moto.sh $(TEST_TOOLS)/moto
	tests/tools/install-s3rver.sh $(TEST_TOOLS)/s3rver

test: all test-tools
	cargo test --release --locked --no-fail-fast

# What takes longer than a developer waits: memory up to a million files and 50 GB, every shape on every major, the
# package in a clean Debian.
test-long: all test-tools
	tests/e2e/long.sh

demo:
	demo/run.sh --check
	$(MAKE) all
	demo/run.sh

# Needs root, PostgreSQL 15, pgbackrest, stunnel4, rclone and curl; three rounds take about ten minutes, and once, to
# build the S3 server, a quarter of an hour.
bench: all
	bench/run.sh
	bench/wal.sh
	bench/s3.sh
	cargo bench --locked --bench manifest

PREFIX ?= /usr/local
BINARIES := pgv-snap pgv-apply pgv-crypt pgv-s3 pgv-info pgv-peek pgv-env
# Where cargo put the binaries.
BUILT ?= target/release
SCRIPTS := $(filter-out %.sh %.cron %.example,$(notdir $(wildcard scripts/pgv-*)))

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pgv
	install -m 0755 $(BINARIES:%=$(BUILT)/%) $(SCRIPTS:%=scripts/%) $(DESTDIR)$(PREFIX)/bin/
	install -m 0644 scripts/*.sh $(DESTDIR)$(PREFIX)/lib/pgv/
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -m 0644 packaging/*.service packaging/*.timer $(DESTDIR)$(PREFIX)/lib/systemd/system/
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	for tool in $$(sed -n '/^complete /,$$p' packaging/completion.bash | tr -s ' \\' '\n' | grep '^pgv-'); do \
	  install -m 0644 packaging/completion.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$tool || exit 1; done
	for page in man/*.[1-8]; do \
	  install -D -m 0644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/} || exit 1; done

# target/debian/pgv_VERSION_ARCH.deb
# dpkg-shlibdeps, of dpkg-dev, finds what the binaries need: without it the package would depend on nothing.
deb:
	@command -v cargo-deb >/dev/null || { echo "deb: cargo-deb is missing: cargo install --locked cargo-deb" >&2; exit 2; }
	@command -v dpkg-shlibdeps >/dev/null || { echo "deb: dpkg-shlibdeps is missing: apt-get install dpkg-dev" >&2; exit 2; }
	$(MAKE) all
	cargo deb --no-build --locked
