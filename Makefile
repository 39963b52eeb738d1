# The build of graceinit is defined here and nowhere else.
#   asyncpreemptoff: the runtime sends itself no SIGURG, so every SIGURG is somebody's and can be forwarded
#   containermaxprocs, updatemaxprocs: it keeps no cgroup files open at fds that inherited listeners may want
#   checklinkname, inherited_signals: internal/signals reads the dispositions the runtime found (saved_runtime.go)
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
MODULE  := github.com/graceinit/graceinit
TAGS    := inherited_signals
RUNTIME := -checklinkname=0 -X runtime.godebugDefault=asyncpreemptoff=1,containermaxprocs=0,updatemaxprocs=0
# No inlining: 130 KB less of every init in memory, and an init has no hot loop that would miss it.
GCFLAGS := all=-l
LDFLAGS := -s -w -buildid= -funcalign=1 $(RUNTIME) -X main.version=$(VERSION)
# The collector before Go 1.26's: 45 KB less, and a heap of some hundred KB gains nothing by the new one.
BUILD   := CGO_ENABLED=0 GOEXPERIMENT=nogreenteagc $(GO) build
OUT     ?= bin/graceinit

# Tests run with the runtime settings of the build.
TEST    := $(GO) test -tags $(TAGS) -ldflags '$(RUNTIME)'
MODULES := $(patsubst %/go.mod,%,$(wildcard go.mod cmd/*/go.mod test/container/go.mod deploy/k8s/test/go.mod demo/go.mod bench/go.mod examples/go.mod))
MODULES := $(patsubst go.mod,.,$(MODULES))
DIST    ?= dist

LIVES      ?= 1000000
FUZZTIME   ?= 30s
DEMOFLAGS  ?=
SOAKFLAGS  ?=
CHAOSFLAGS ?=
BENCHFLAGS ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo '  PARTS="unit lint" make test      some of the parts of the test (scripts/test lists them)'
	@echo '  make build GOARCH=arm64 OUT=...  for another architecture'

##@ the program

.PHONY: build
build: ## build bin/graceinit, static and stripped
	@GO="$(GO)" scripts/slim
	$(BUILD) -modfile=bin/slim/go.mod -trimpath -buildvcs=false -tags $(TAGS) -ldflags '$(LDFLAGS)' -gcflags '$(GCFLAGS)' -o $(OUT) ./cmd/graceinit

# The programs that speak to the init, but are not it: each a module of its own, built without cgo for where it runs.
COMPANIONS := graceinit-exporter kubectl-graceinit

.PHONY: companions
companions: $(addprefix companion-,$(COMPANIONS)) ## build bin/graceinit-exporter and bin/kubectl-graceinit

.PHONY: $(addprefix companion-,$(COMPANIONS))
companion-graceinit-exporter: COMPANIONTAGS := -tags nethttpomithttp2
$(addprefix companion-,$(COMPANIONS)): companion-%:
	cd cmd/$* && CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false $(COMPANIONTAGS) \
		-ldflags '-s -w -buildid= -X main.version=$(VERSION)' -o $(or $(COMPANIONOUT),$(CURDIR)/bin/$*) .

.PHONY: demo
demo: ## show upgrades in place under load (DEMOFLAGS=-docker: in Docker)
	cd demo && $(GO) run . $(DEMOFLAGS)

##@ tests

.PHONY: test
test: ## test everything, as CI does
	@scripts/test $(PARTS)

.PHONY: unit
unit: ## the tests of the main module
	$(TEST) -shuffle=on ./...

.PHONY: race
race: ## the same under the race detector
	$(TEST) -race -shuffle=on ./...

# Upgrades in cmd/graceinit's tests have deadlines that are for a processor, not for an emulator: what is named here
# waits for nothing but events.
EMULATED := ^(TestExitCodeIsTheApps|TestOrphansAreReaped|TestNoStatusOfTheAppsChildrenIsStolen|TestWhatTheAppFinds$\
	|TestCommandThatCannotBeExecuted|TestNoSignalOfOurOwnReachesTheApp|TestReparent|TestSpawnUpgrades|TestFDStore|TestUserIsTaken)$$

.PHONY: arm64
arm64: bin/tools/emulate ## the tests of the main module for arm64, under qemu (Linux 6.7, qemu-user-static; PKG=./reaper for one package)
	GOARCH=arm64 $(TEST) -exec $(abspath $<) -shuffle=on $(or $(PKG),$(shell $(GO) list ./... | grep -v /cmd/graceinit$$))
	$(if $(PKG),,GOARCH=arm64 $(TEST) -exec $(abspath $<) -shuffle=on -run '$(EMULATED)' ./cmd/graceinit)

bin/tools/emulate: $(wildcard scripts/emulate/*.go)
	GOARCH= $(GO) build -trimpath -o $@ ./scripts/emulate

.PHONY: process
process: build ## the tests of the init as a process, with the release build as the init
	GRACEINIT_BIN=$(abspath $(OUT)) $(GO) test -count=1 -shuffle=on ./cmd/graceinit

.PHONY: stress
stress: ## the same a hundred times, on one processor and on four
	$(TEST) -race -count=100 -shuffle=on -cpu=1,4 -timeout=2h ./...

.PHONY: sim
sim: ## simulate LIVES=1000000 random lives of the pure core
	$(TEST) -timeout=2h -run '^TestSimulation$$' ./internal/lifecycle -lives=$(LIVES)

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME=30s
	GO="$(GO)" FLAGS="-tags=$(TAGS)" LDFLAGS="$(RUNTIME)" scripts/fuzz $(FUZZTIME)

.PHONY: container
container: ## real servers in real containers (root and Docker; see scripts/setup)
	cd test/container && $(GO) test -race -shuffle=on -timeout=30m $$($(GO) list ./... | grep -v /runtimes)

.PHONY: runtimes
runtimes: build ## under runc, crun, gVisor, podman and podman without root (see scripts/setup-runtimes)
	cd test/container && GRACEINIT_BIN=$(abspath $(OUT)) $(GO) test -race -shuffle=on -timeout=10m ./runtimes/...

.PHONY: kubernetes
kubernetes: ## the manifests, and the lab in which they are run (root, containerd, kubectl; see scripts/setup-kubernetes)
	cd deploy/k8s/test && $(GO) test -race -shuffle=on -timeout=30m ./...

.PHONY: compare
compare: ## the same servers under tini, dumb-init and catatonit, side by side
	cd test/container && $(GO) run ./cmd/compare

.PHONY: soak
soak: build ## 1000 upgrades under load, 100000 orphans, 50000 children (SOAKFLAGS="-n 50")
	cd demo && $(GO) run ./soak $(SOAKFLAGS)

.PHONY: chaos
chaos: build ## everything that can go wrong, at random, under load (CHAOSFLAGS="-seed 1 -for 1h"; docs/reliability.md)
	cd demo && $(GO) run ./chaos $(CHAOSFLAGS)

.PHONY: upgrades
upgrades: build ## 50 upgrades of each server that takes LISTEN_FDS, in containers under load
	cd test/container && GRACEINIT_BIN=$(abspath $(OUT)) $(GO) test -v -count=1 -run '^TestManyUpgrades$$' . -upgrades=50

.PHONY: bench
bench: build ## side by side with tini, dumb-init, catatonit and s6, and upgrades with other ways (BENCHFLAGS=-h)
	cd bench && $(GO) run . -init $(abspath $(OUT)) $(BENCHFLAGS)

.PHONY: performance
performance: ## write docs/performance.md's tables and pictures from bin/bench.json
	cd bench && $(GO) run . -render

##@ the source

.PHONY: lint
lint: bin/tools/golangci-lint ## gofmt, go vet, golangci-lint, shellcheck
	scripts/lint $(MODULES)

.PHONY: vuln
vuln: bin/tools/govulncheck ## known vulnerabilities in what is linked in
	scripts/vuln -tags $(TAGS) ./...

.PHONY: docs
docs: ## rewrite what is generated: man page options, settings table, completions, state diagram
	$(GO) run ./scripts/gendocs
	$(TEST) -run '^TestStatesDocument$$' ./internal/lifecycle -update

.PHONY: man
man: bin/tools/go-md2man ## the man page, dist/graceinit.8
	@mkdir -p $(DIST)
	bin/tools/go-md2man -in docs/graceinit.8.md -out $(DIST)/graceinit.8

# Tools are pinned in tools/go.mod.
bin/tools/golangci-lint: PKG := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
bin/tools/govulncheck: PKG := golang.org/x/vuln/cmd/govulncheck
bin/tools/go-md2man: PKG := github.com/cpuguy83/go-md2man/v2
bin/tools/%: tools/go.mod tools/go.sum
	cd tools && $(GO) build -trimpath -o ../$@ $(PKG)

##@ release

.PHONY: release
release: ## dist/: static binaries for amd64 and arm64, the exporter, the kubectl plugin, man page, completions, SBOM, checksums
	rm -rf $(DIST)
	$(MAKE) --no-print-directory man
	$(MAKE) --no-print-directory build GOOS=linux GOARCH=amd64 GOAMD64=v1 OUT=$(DIST)/graceinit-linux-amd64
	$(MAKE) --no-print-directory build GOOS=linux GOARCH=arm64 GOARM64=v8.0 OUT=$(DIST)/graceinit-linux-arm64
	for platform in linux-amd64 linux-arm64 darwin-amd64 darwin-arm64; do \
		for program in $(COMPANIONS); do \
			case $$program-$$platform in graceinit-exporter-darwin*) continue ;; esac; \
			GOOS=$${platform%-*} GOARCH=$${platform#*-} $(MAKE) --no-print-directory companion-$$program \
				VERSION=$(VERSION) COMPANIONOUT=$(abspath $(DIST))/$$program-$$platform || exit; \
		done; \
	done
	mkdir -p $(DIST)/completions && cp completions/* cmd/kubectl-graceinit/kubectl_complete-graceinit $(DIST)/completions/
	$(GO) run ./scripts/release -version '$(VERSION)' $(DIST)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin $(DIST)
