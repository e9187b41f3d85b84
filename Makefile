# make build | test | test-all | test-unit | lint | package | demo, and more below.
# A fresh Debian machine needs git and make. `make setup` installs the rest if it
# runs as root; otherwise it prints what is missing. Targets run it themselves.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
export CGO_ENABLED = 0

# All packages but tests/e2e, which needs a guest.
HOST_PACKAGES = $$($(GO) list ./... | grep -v '/tests/e2e$$')

.PHONY: all build setup setup-go
.PHONY: test test-all test-unit test-host test-guest
.PHONY: test-releases test-long test-suites test-arm64 faults torture fresh fuzz
.PHONY: lint package demo bench clean

all: build

build: bin/hapressure

.PHONY: bin/hapressure
bin/hapressure: setup-go
	$(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/hapressure

setup-go:
	@packaging/setup.sh go

setup: setup-go
	@packaging/setup.sh host
	@tests/guest/setup.sh

# Before each commit, and what CI runs. Prints the time of each part. They do not run
# side by side: beside a guest, purges in the host's tests exceed the bound of a hold,
# which kills the test's process.
test: setup
	@tests/parts.sh 'lint test-host test-guest'

# Before a release: all other guests, suites, faults and long forms. One part after
# another, because each of them fills the machine.
test-all: setup
	@tests/parts.sh 'test test-long test-suites faults torture fresh'

# Seconds; needs neither HAProxy nor root.
test-unit: setup-go
	$(GO) test -short ./...

# With the race detector, and with HAProxy of three releases on this machine.
test-host: setup
	CGO_ENABLED=1 $(GO) test -race -timeout 60m $(HOST_PACKAGES)

# The guest tests that `make test` runs: see tests/e2e/scope_test.go.
test-guest: setup
	HAPRESSURE_TESTS=guest $(GO) test -count 1 -timeout 60m -v ./tests/e2e

# All guest tests but the faults, and the long forms of the property tests.
test-long: setup
	HAPRESSURE_TESTS=all $(GO) test -count 1 -timeout 60m ./policy/...
	HAPRESSURE_TESTS=all $(GO) test -p 1 -count 1 -timeout 120m -v -skip TestFaults \
		./tests/guest ./tests/e2e

# The package's life and HAProxy as RHEL has it, on other releases of Debian.
test-suites: setup
	HAPRESSURE_TESTS=all HAPRESSURE_SUITES='bookworm sid' $(GO) test \
		-run 'DebInGuest|HAProxyAsOnRHEL' -count 1 -timeout 120m -v ./tests/e2e

# The same on an emulated arm64, with the tests of the packages: half an hour.
test-arm64: setup
	@tests/guest/setup.sh arm64
	HAPRESSURE_TESTS=all HAPRESSURE_SUITES=trixie:arm64 $(GO) test \
		-run 'PackagesInGuest|DebInGuest' -count 1 -timeout 180m -v ./tests/e2e

# A quick test with the HAProxy of each release, which builds the roots they run in.
test-releases: setup
	$(GO) test -count 1 -timeout 20m \
		-run 'TestEachReleaseStarts|TestWorkersAreReachedWithoutAMasterCLI' \
		./tests/haproxytest ./haproxy

# The matrix of docs/failure-modes.md; FAULTS='cli-gone dbus-hung' selects from it.
FAULTS ?= all
faults: setup
	mkdir -p dist
	HAPRESSURE_TESTS=all HAPRESSURE_FAULTS='$(FAULTS)' HAPRESSURE_FAULTS_OUT=$(CURDIR)/dist/faults.json \
		$(GO) test -run TestFaults -count 1 -timeout 90m -v ./tests/e2e
	HAPRESSURE_FAULTS='$(FAULTS)' HAPRESSURE_HALTS=200 \
		$(GO) test -run 'Killed|Halted|Stopped|DoesNotStop|ReusedPID' -count 1 -timeout 60m -v \
		./haproxy ./haproxy/proc

# A thousand purges under load for each HAProxy release: half an hour.
# HAPRESSURE_HAPROXY=/path/to/haproxy takes that one instead.
torture: setup
	HAPRESSURE_ROUNDS=100 $(GO) test -run 'Torture|HTTPCache' -count 1 -timeout 3h -v \
		./haproxy -torture 64

# HEAD in a bare root of each Debian release in FRESH: shows what setup does not install.
FRESH ?= bookworm trixie
fresh: setup
	@set -e; for suite in $(FRESH); do \
		timeout 60m tests/fresh/fresh.sh $$suite build setup test-unit test-releases; done

# Every fuzz test in turn, each for FUZZTIME; FUZZ='./cgroup' selects a package.
# A failing input is kept below the package's testdata/fuzz.
FUZZTIME ?= 10m
FUZZ ?= ./...
fuzz: setup-go
	@set -e; for pkg in $$($(GO) list $(FUZZ)); do \
		for test in $$($(GO) test -list '^Fuzz' $$pkg | grep ^Fuzz); do \
			echo "$$pkg $$test"; \
			$(GO) test -run '^$$' -fuzz "^$$test\$$" -fuzztime $(FUZZTIME) \
				-fuzzminimizetime 1s $(FUZZFLAGS) $$pkg; \
		done; done

lint: setup-go
	@test -z "$$(gofmt -l .)" || { echo "gofmt these:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags manpages ./cmd/...
	GOARCH=arm64 $(GO) vet ./cmd/... ./controller ./haproxy/... ./cgroup ./policy ./systemd
	$(GO) tool staticcheck ./...
	$(GO) run ./tests/lint

# dist/hapressure_*.deb and *.rpm, for amd64 and arm64.
package: setup-go
	packaging/package.sh

demo: setup
	$(GO) run ./tests/demo

# As root, with HAProxy, on an idle machine: twenty minutes.
# BENCH='-parts sweep -sizes 1' is quicker.
bench: setup-go
	$(GO) run ./tests/bench $(BENCH)

clean:
	rm -rf bin dist
