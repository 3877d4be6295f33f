# The commands a person uses. CI calls the same ones (.ci/run).
.PHONY: help demo test bench lint os-image powercut

# Points at which `make powercut` cuts the power.
POINTS ?= 500

help:
	@echo "make demo      build, then show the whole path on this machine: connect, prove, fetch the app, run it"
	@echo "make test      run every test, attacks included"
	@echo "make bench     measure the gateway beside a bare TLS server and mosquitto, and the language beside Lua (a quarter of an hour)"
	@echo "make os-image  build the program that a device boots: the runtime alone, linked statically"
	@echo "make powercut  cut the power of a device in a virtual machine at $(POINTS) points of its writes (POINTS=20 for fewer)"
	@echo "make lint      formatting and lints, warnings are errors"

demo:
	@scripts/setup demo
	cargo run --release --locked --package vouch -- demo --os-image "$$(scripts/os-image)"

os-image:
	@scripts/setup build
	@scripts/os-image

test:
	@scripts/setup test
	cargo test --workspace --locked

bench:
	@scripts/setup bench
	cargo run --release --locked --package vouch-benches --bin vouch-bench
	cargo run --release --locked --package vouch-benches --bin vouch-bench -- vault
	cargo run --release --locked --package vouch-benches --bin vouch-bench -- messages
	cargo run --release --locked --package vouch-benches --bin vouch-bench -- storm
	cargo run --release --locked --package vouch-benches --bin vouch-bench -- storm 19000 --one-address
	cargo run --release --locked --package vouch-benches --bin vouch-bench -- restart
	cargo run --release --locked --package vouch-benches --bin vouch-bench -- updates
	cargo run --release --locked --package vouch-device --features parent --example measure_boot
	cargo build --release --locked --package vouch
	python3 benches/power_on.py target/release/vouch "$$(scripts/os-image)"
	benches/ceremony.sh target/release/vouch
	cargo build --release --locked --package vouch-squirrel --examples
	cargo run --release --locked --package vouch-squirrel --example measure
	python3 benches/squirrel/run.py

powercut:
	@scripts/setup powercut
	cargo xtask powercut --points $(POINTS)

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --package vouch --no-default-features --features device --locked -- -D warnings
