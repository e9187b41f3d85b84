# make build | test | test-unit | test-host | fresh | test-guests | test-arm64 | faults | torture | fuzz | bench |
# lint | package | demo. A fresh Debian machine needs git and make. `make setup` installs the rest as root, otherwise
# it prints what is missing. The targets that need it run it themselves.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
export CGO_ENABLED = 0

.PHONY: all build setup test test-unit test-host test-releases fresh fresh-short test-guests test-arm64 faults torture fuzz bench lint package demo clean

all: build

build: bin/hapressure

.PHONY: bin/hapressure
bin/hapressure: setup-go
	$(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/hapressure

.PHONY: setup-go
setup-go:
	@packaging/setup.sh go

setup: setup-go
	@packaging/setup.sh host
	@tests/guest/setup.sh

# Unit tests: seconds, no HAProxy, no root.
test-unit: setup-go
	$(GO) test -short ./...

# Everything: the tests on this machine, the setup of a bare Debian, and the storms in the guest.
test: setup lint test-host fresh-short
	$(GO) test -p 1 -count 1 -timeout 80m -v ./tests/guest ./tests ./tests/e2e

# The tests that need no guest: with the race detector, and a real HAProxy on this machine.
test-host: setup
	CGO_ENABLED=1 $(GO) test -race -short ./...
	CGO_ENABLED=1 $(GO) test -race -timeout 60m ./cgroup ./haproxy ./controller/... ./cmd/... ./tests/haproxytest ./tests/storm

# A quick test with the HAProxy of each release, which builds the roots that they run in.
test-releases: setup
	$(GO) test -count 1 -timeout 20m -run 'TestEachReleaseStarts|TestWorkersAreReachedWithoutAMasterCLI' ./tests/haproxytest ./haproxy

# HEAD in a bare root of each Debian release in FRESH: shows what setup does not install.
FRESH ?= bookworm trixie
fresh: setup
	@set -e; for suite in $(FRESH); do timeout 120m tests/fresh/fresh.sh $$suite build setup test-unit lint test-releases test-host; done

# The part of it that make test runs: one release, few tests.
fresh-short: setup
	timeout 30m tests/fresh/fresh.sh trixie build setup test-unit test-releases

# The life of the package, and HAProxy as RHEL has it, in a guest of each release of Debian; and what the daemon uses and does when all else stalls.
test-guests: setup
	HAPRESSURE_SUITES='bookworm trixie sid' HAPRESSURE_LONG=1 $(GO) test -run 'DebInGuest|HAProxyAsOnRHEL|Footprint|Thrashes' -count 1 -timeout 120m -v ./tests/e2e

# The other architecture, emulated: the tests of the packages that touch the machine, and the life of the package. Half an hour.
test-arm64: setup
	@tests/guest/setup.sh arm64
	HAPRESSURE_SUITES=trixie:arm64 $(GO) test -run 'PackagesInGuest|DebInGuest' -count 1 -timeout 180m -v ./tests/e2e

# The matrix of docs/failure-modes.md: some twenty minutes. FAULTS='cli-gone dbus-hung' are those alone.
FAULTS ?= all
faults: setup
	mkdir -p dist
	HAPRESSURE_FAULTS='$(FAULTS)' HAPRESSURE_FAULTS_OUT=$(CURDIR)/dist/faults.json $(GO) test -run TestFaults -count 1 -timeout 90m -v ./tests/e2e
	HAPRESSURE_FAULTS='$(FAULTS)' HAPRESSURE_HALTS=200 $(GO) test -run 'Killed|Halted|Stopped|DoesNotStop|ReusedPID' -count 1 -timeout 60m -v ./haproxy

# A thousand purges under load, on each HAProxy release that we have: about half an hour. HAPRESSURE_HAPROXY=/path/to/haproxy takes
# that one instead.
torture: setup
	HAPRESSURE_ROUNDS=100 $(GO) test -run 'Torture|HTTPCache' -count 1 -timeout 3h -v ./haproxy -torture 64

# Every fuzz test in turn, each for FUZZTIME; FUZZ='./cgroup' takes only those of one package. What one finds it keeps below its testdata/fuzz.
FUZZTIME ?= 10m
FUZZ ?= ./...
fuzz: setup-go
	@set -e; for pkg in $$($(GO) list $(FUZZ)); do for test in $$($(GO) test -list '^Fuzz' $$pkg | grep ^Fuzz); do \
		echo "$$pkg $$test"; $(GO) test -run '^$$' -fuzz "^$$test\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s $(FUZZFLAGS) $$pkg; done; done

lint: setup-go
	@test -z "$$(gofmt -l .)" || { echo "gofmt these:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags manpages ./cmd/...
	GOARCH=arm64 $(GO) vet ./cmd/... ./controller ./haproxy ./cgroup ./policy ./systemd
	$(GO) tool staticcheck ./...

# dist/hapressure_*.deb and *.rpm, for amd64 and arm64.
package: setup-go
	packaging/package.sh

demo: setup
	$(GO) run ./tests/demo

# As root, with HAProxy installed, on a machine with nothing else to do: some twenty minutes. BENCH='-parts sweep -sizes 1' is quicker.
bench: setup-go
	$(GO) run ./tests/bench $(BENCH)

clean:
	rm -rf bin dist
