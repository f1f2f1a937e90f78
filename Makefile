# One profile for everything: zstd and the ciphers are useless unoptimised, and one build serves all.
.PHONY: all check quick one test test-long soak test-tools demo bench bench-cloud install deb release

TEST_TOOLS := target/test-tools

all:
	cargo build --release --locked

# Scripts by their first line, so that a new one is checked without being listed here.
BASH_SCRIPTS = $(shell grep --recursive --files-with-matches --extended-regexp '^#!.*bash|^\# shellcheck shell=bash' scripts tests bench demo packaging .ci)

check: test-tools
	cargo fmt --check
	cargo clippy --release --locked --all-targets -- --deny warnings
	shellcheck --external-sources $(BASH_SCRIPTS)
	mandoc -T lint -W warning man/*.[1-8]

# The loop of a developer: what is wrong with a change, within a minute. The dependencies are those of the release, so
# there is one build of the AWS SDK; only pgv itself is compiled incrementally and with fewer optimisations. `make all`
# puts the binaries of the release back.
QUICKLY := --config profile.release.incremental=true --config profile.release.package.pgv.opt-level=1
# All but those that start a server.
QUICK_TESTS = $(filter-out e2e increments snap,$(basename $(notdir $(wildcard tests/*.rs))))

quick: target/shellcheck
	cargo fmt --check
	cargo clippy $(QUICKLY) --release --locked --all-targets -- --deny warnings
	mandoc -T lint -W warning man/*.[1-8]
	cargo test $(QUICKLY) --quiet --release --locked --lib $(QUICK_TESTS:%=--test %)

# Twenty seconds, and only after a change of a script.
target/shellcheck: $(BASH_SCRIPTS)
	printf '%s\n' $(BASH_SCRIPTS) | xargs --max-procs=0 --max-args=8 shellcheck --external-sources
	mkdir -p $(@D) && touch $@

# One end-to-end script with its output as it comes: make one T=wal.sh V=17. V is what the script takes: a major of
# PostgreSQL, file or s3. After a failure its scratch directory stays and is named. Needs make test-tools, once.
one:
	@[ -x "tests/e2e/$(T)" ] || { echo "one: T=$(T) is no script of tests/e2e: make one T=wal.sh [V=17]" >&2; exit 2; }
	cargo build $(QUICKLY) --release --locked
	tests/e2e/$(T) $(V)

# What the tests need beside Rust: Debian packages, and the servers that Debian does not have.
test-tools:
	tests/tools/install-debian.sh
	tests/tools/install-postgres.sh $(TEST_TOOLS)/postgres
	tests/tools/install-debian-tools.sh $(TEST_TOOLS)/debian
	tests/tools/install-s3.sh $(TEST_TOOLS)/s3
	tests/tools/install-moto.sh $(TEST_TOOLS)/moto
	tests/tools/install-s3rver.sh $(TEST_TOOLS)/s3rver

# Tools first: without a C compiler nothing is built.
test: test-tools all
	tests/run.sh

# What takes longer than a developer waits: memory up to a million files and 50 GB, every shape on every major, the
# package in a clean Debian.
test-long: test-tools all
	tests/e2e/long.sh

# Everything at once, in a loop, with kills, and with memory and files watched.
MINUTES ?= 30
soak: all test-tools
	tests/e2e/soak.sh $(MINUTES)

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

# The same from far away: a line of 30 and of 100 ms to an S3 server over TLS. Needs root, PostgreSQL 15, pgBackRest 2.46
# or newer (bench/pgbackrest.sh target/bench-tools/pgbackrest gets one), haproxy, openssl, curl, iproute2 and python3; a
# quarter of an hour, and once, to build the S3 server, another one. PGV_BENCH_SERVER=fake builds none, for a trial.
bench-cloud: all
	bench/cloud.sh
	bench/cloud-wal.sh
	bench/cloud-put.sh

PREFIX ?= /usr/local
BINARIES := pgv-snap pgv-apply pgv-merge pgv-crypt pgv-s3 pgv-info pgv-peek pgv-env
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

# What people download, in target/release-VERSION; packaging/RELEASING.md has the steps before and after.
release:
	packaging/release.sh "$(VERSION)"
