# The build of graceinit is defined here and nowhere else.
#   asyncpreemptoff: the runtime sends itself no SIGURG, so every SIGURG is somebody's and can be forwarded
#   containermaxprocs, updatemaxprocs: it keeps no cgroup files open at fds that inherited listeners may want
#   checklinkname, inherited_signals: internal/signals reads the dispositions the runtime found (saved_runtime.go)
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
MODULE  := github.com/graceinit/graceinit
TAGS    := inherited_signals
LDFLAGS := -s -w -buildid= -checklinkname=0 \
	-X runtime.godebugDefault=asyncpreemptoff=1,containermaxprocs=0,updatemaxprocs=0 \
	-X main.version=$(VERSION)
OUT     ?= bin/graceinit

.PHONY: build
build:
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -tags $(TAGS) -ldflags '$(LDFLAGS)' -o $(OUT) ./cmd/graceinit
