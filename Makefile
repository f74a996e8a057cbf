# Two commands: `make demo` shows the whole road on this machine, `make test` runs what CI runs.
SHELL := /bin/sh
IMAGE := build/images/debian-12

MINUTES := 10
# One of the folders of tests/fuzz/corpus each.
FUZZERS := $(notdir $(wildcard tests/fuzz/corpus/*))

.PHONY: help demo test ways fuzz bench images images-arm64 loaders build packages test-packages fmt lint deny clean

help:
	@echo 'make demo [ARGS=--once]  a virtual rack goes from dark to a ready three-member etcd cluster'
	@echo 'make test                everything that CI runs: format, clippy, cargo-deny, unit, protocol and lab tests'
	@echo 'make ways                of these, one emulated blade per way to boot: BIOS, UEFI, HTTP, Secure Boot, arm64, IPv6'
	@echo 'make fuzz [MINUTES=10]   each parser of what a network sends, that long, by libFuzzer'
	@echo 'make bench [ARGS=…]      CPU, speed and memory beside peers from Debian packages; ARGS=--help tells more'
	@echo 'make images              the boot image debian-12, built from Debian packages, in $(IMAGE)'
	@echo 'make images-arm64        the same for arm64 blades, added to it; on another machine by emulation, some minutes'
	@echo 'make loaders             the programs that firmware loads, from Debian packages, in build/loaders'
	@echo 'make build               the daemon, target/release/firstlight'

demo: packages images build
	boot-assets/demo.sh $(ARGS)

build:
	cargo build --release

images: packages
	boot-assets/build-images.sh $(IMAGE)

images-arm64: images
	boot-assets/install-packages.sh boot-assets/arm64-packages.txt
	boot-assets/build-images.sh --arch arm64 $(IMAGE)

loaders:
	boot-assets/build-loaders.sh

# Installs what is missing from Debian's own packages; says so before it does.
packages:
	boot-assets/install-packages.sh boot-assets/packages.txt boot-assets/lab-packages.txt

test-packages:
	boot-assets/install-packages.sh boot-assets/packages.txt boot-assets/lab-packages.txt tests/packages.txt

test: test-packages fmt lint deny images-arm64 loaders
	tests/with-postgres cargo nextest run

ways: test-packages images-arm64 loaders
	tests/with-postgres cargo nextest run --profile ways

# cargo-fuzz wants a nightly compiler for its sanitizers alone. The product's parsers have no unsafe
# code, so none is used (-s none), and the stable compiler does; with `-s address` it would need
# RUSTC_BOOTSTRAP=1. What is found anew stays in target/fuzz-corpus; findings in tests/fuzz/artifacts.
fuzz:
	command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	set -e; for fuzzer in $(FUZZERS); do \
	    mkdir -p target/fuzz-corpus/$$fuzzer; \
	    nice cargo fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz -s none $$fuzzer \
	        target/fuzz-corpus/$$fuzzer tests/fuzz/corpus/$$fuzzer -- \
	        -max_total_time=$$(($(MINUTES) * 60)) -max_len=1500 -timeout=10 -print_final_stats=1; \
	done

bench: test-packages images build
	boot-assets/install-packages.sh tests/bench/packages.txt
	python3 tests/bench/bench.py $(ARGS)

fmt:
	cargo fmt --check

lint:
	cargo clippy --all-targets -- -D warnings
	shellcheck -x boot-assets/*.sh boot-assets/disk/*.sh boot-assets/live/*.sh cloud-configs/*.sh tests/with-postgres .ci/run
	shellcheck --shell=dash boot-assets/live/init boot-assets/live/cloud-config

# The advisory database is fetched from outside; where it cannot be had, licences, bans and
# sources are still checked.
deny:
	boot-assets/deny.sh

clean:
	cargo clean
	rm -rf build
