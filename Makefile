# make build | test | test-all | test-unit | lint | package | demo, and more below.
# A fresh Debian machine needs git and make. `make setup` installs the rest if it
# runs as root; otherwise it prints what is missing. Targets run it themselves.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null)
STAMP    = -X main.version=$(VERSION) -X main.commit=$(COMMIT)
export CGO_ENABLED = 0

.PHONY: all build setup setup-go
.PHONY: test test-all test-unit test-host host-race host-plain test-guest test-packages
.PHONY: test-releases test-long test-long-host test-suites test-arm64 faults torture fresh fuzz
.PHONY: lint package demo bench clean

all: build

build: bin/hapressure

.PHONY: bin/hapressure
bin/hapressure: setup-go
	$(GO) build -trimpath -ldflags '-s -w $(STAMP)' -o $@ ./cmd/hapressure

setup-go:
	@packaging/setup.sh go

setup: setup-go
	@packaging/setup.sh host
	@tests/guest/setup.sh

# Before each commit, and what CI runs. Prints the time of each part. No test of the host
# runs beside a guest: purges would exceed the bound of a hold there, which kills the
# test's process.
test: setup
	@tests/parts.sh test-host 'lint,test-packages test-guest'

# Before a release: all other guests, suites, faults and long forms. One part after
# another, because each of them fills the machine. `make fresh` is another hour.
test-all: export PURGES = 16
test-all: export ROUNDS = 25
test-all: export HALTS = 50
test-all: setup
	@tests/parts.sh test test-long-host test-long test-suites faults torture

# Seconds; needs neither HAProxy nor root.
test-unit: setup-go
	$(GO) test -short ./...

# The tests that need no guest: each package once, half of them with the race detector.
test-host: setup
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target host-race host-plain

# The packages that run goroutines. Others take twice the time with the race detector,
# and more where they start HAProxy or commands: see test-long-host.
RACED = ./cgroup ./cmd/hapressure/internal/... ./controller/... ./haproxy/cli ./haproxy/proc \
	./input ./systemd
host-race:
	CGO_ENABLED=1 $(GO) test -race -p 1 -timeout 60m $(RACED)

host-plain:
	$(GO) test -p 1 -timeout 60m $$($(GO) list ./... | \
		grep -vxF "$$($(GO) list $(RACED) ./tests/e2e)")

# The guest tests that `make test` runs: see tests/e2e/scope_test.go.
test-guest: setup
	HAPRESSURE_TESTS=guest $(GO) test -count 1 -timeout 60m -v -skip '$(PACKAGE_TESTS)' ./tests/e2e

# That packages are reproducible, pass their linters, and that rpm installs them.
PACKAGE_TESTS = Packages(AreReproducible|PassLint|HoldNotices)|InstalledLinks|RPM
test-packages: setup
	$(GO) test -count 1 -timeout 30m -run '$(PACKAGE_TESTS)' ./tests/e2e

# All guest tests but the faults.
test-long: setup
	HAPRESSURE_TESTS=all $(GO) test -p 1 -count 1 -timeout 120m -v -skip TestFaults \
		./tests/guest ./tests/e2e

# What test-host leaves out: the long forms of the property tests, and HAProxy of each
# release in each test of it, with the race detector.
test-long-host: setup
	HAPRESSURE_TESTS=all $(GO) test -count 1 -timeout 60m ./policy/...
	HAPRESSURE_TESTS=all CGO_ENABLED=1 $(GO) test -race -count 1 -timeout 60m \
		./cmd/hapressure ./haproxy ./haproxy/shctx ./tests/haproxytest ./tests/storm

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
HALTS ?= 200
faults: setup
	mkdir -p dist
	HAPRESSURE_TESTS=all HAPRESSURE_FAULTS='$(FAULTS)' HAPRESSURE_FAULTS_OUT=$(CURDIR)/dist/faults.json \
		$(GO) test -run TestFaults -count 1 -timeout 90m -v ./tests/e2e
	HAPRESSURE_FAULTS='$(FAULTS)' HAPRESSURE_HALTS=$(HALTS) \
		$(GO) test -run 'Killed|Halted|Stopped|DoesNotStop|ReusedPID' -count 1 -timeout 60m -v \
		./haproxy ./haproxy/proc

# A thousand purges under load, with HAProxy of three releases: half an hour.
# HAPRESSURE_HAPROXY=/path/to/haproxy takes that one instead.
PURGES ?= 64
ROUNDS ?= 100
torture: setup
	HAPRESSURE_TESTS=all HAPRESSURE_ROUNDS=$(ROUNDS) $(GO) test -run 'Torture|HTTPCache' \
		-count 1 -timeout 3h -v ./haproxy -torture $(PURGES)

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

# DEMO=-sf: with a HAProxy without a master.
demo: setup
	$(GO) run ./tests/demo $(DEMO)

# As root, with HAProxy, on an idle machine: twenty minutes.
# BENCH='-parts sweep -sizes 1' is quicker.
bench: setup-go
	$(GO) run ./tests/bench $(BENCH)

clean:
	rm -rf bin dist
