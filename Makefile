# The same commands for people and for CI; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Where Go's own installer and Debian put programs that PATH may leave out.
export PATH := $(PATH):/usr/local/go/bin:/usr/sbin:/sbin

MODULE  := github.com/seawall-security/seawall
VERSION := $(or $(shell git describe --tags --always --dirty 2>/dev/null),unknown)

# Reproducible: no paths, no time, no cgo; the version comes from git.
BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-w -X $(MODULE)/internal/obs.version=$(VERSION)'

# Hooks, containers and namespaces need root; the build does not.
ROOT := $(if $(filter-out 0,$(shell id -u)),sudo -E)
EXEC := $(if $(ROOT),-exec '$(ROOT)')

# Kernels to test on; the gate takes the two that most clusters run.
KERNELS ?= 5.10 6.1 6.12 new
GATE_KERNELS := 5.10 6.1
PREEMPTIBLE := 6.12

# Power cuts in a VM: how many, and what makes them random.
ROUNDS ?= 30
SEED   ?= 1
KERNEL ?= 6.1

# What make test runs after setup, in this order: the quick ones first.
GATES := check-format vet check-generated lint test-go test-race test-kube gate-kernels demo

GOLANGCI := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
CFORMAT  := clang-format-16
GENERATED := find bpf proto docs -name '*_bpfel.go' -o -name '*_bpfel.o' -o -name '*.pb.go' -o -name events.md -o -name audit-rules.md

.PHONY: help
help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: go-present
go-present:
	@command -v go >/dev/null || { echo "Go is missing: install it as https://go.dev/doc/install says" >&2; exit 1; }

.PHONY: setup
setup: go-present ## install the Debian packages that tests and generators need (tools/setup/packages)
	@tools/setup/install

.PHONY: generate
generate: ## renew protobuf bindings, BPF objects and generated pages (needs setup); commit what changes
	go build -o build/protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go
	go build -o build/protoc-gen-go-grpc google.golang.org/grpc/cmd/protoc-gen-go-grpc
	protoc --plugin=protoc-gen-go=build/protoc-gen-go --plugin=protoc-gen-go-grpc=build/protoc-gen-go-grpc \
		--go_out=. --go_opt=module=$(MODULE) --go-grpc_out=. --go-grpc_opt=module=$(MODULE) proto/*/*/*.proto
	go generate ./...

.PHONY: build
build: go-present ## build seawall-agent, seawall-collector and seawallctl into build/; needs nothing but Go
	$(BUILD) -o build/seawall-agent ./agent
	$(BUILD) -o build/seawall-collector ./collector
	$(BUILD) -o build/seawallctl ./tools/seawallctl

.PHONY: run
run: build ## collector and agent of this machine, alerts until Ctrl-C (root by sudo; STATE=folder, ARGS=the agent's flags, RUN=tools/run's)
	go build -o build/seawall-run ./tools/run
	build/seawall-run $(if $(STATE),-state '$(STATE)') $(RUN) -- $(ARGS)

# Kubernetes and etcd have hundreds of modules of their own: tools/kube keeps them.
KUBE_BUILD = cd tools/kube && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o ../../build/kube/ \
	-ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$$(go list -m -f '{{.Version}}' k8s.io/kubernetes)"

.PHONY: kube
kube: go-present ## build the etcd and the kube-apiserver that tests start, into build/kube/
	$(KUBE_BUILD) ./etcd ./kube-apiserver

.PHONY: kube-node
kube-node: kube ## build the rest of Kubernetes as well, into build/kube/
	$(KUBE_BUILD) ./kube-controller-manager ./kubelet ./kubectl

.PHONY: demo
demo: setup build ## a real intrusion into a real container, and its honest twin
	go build -o build/demo ./tools/demo
	CGO_ENABLED=0 go build -o build/seawall-attack ./tools/attack
	$(ROOT) build/demo -agent build/seawall-agent -collector build/seawall-collector -actor build/seawall-attack \
		-golden tools/demo/testdata/detections.json -golden-alerts tools/demo/testdata/alerts.json $(ARGS)

.PHONY: test
test: setup ## set up, then everything that gates, with the time each part took
	@report=; for gate in $(GATES); do \
		printf '\n=== %s\n' "$$gate"; started=$$SECONDS; \
		$(MAKE) --no-print-directory "$$gate" || { echo "=== $$gate: FAILED after $$((SECONDS - started)) s" >&2; exit 1; }; \
		printf -v line '%-16s %5d s\n' "$$gate" $$((SECONDS - started)); report+=$$line; \
	done; printf '\n=== all passed\n%s%-16s %5d s\n' "$$report" total "$$SECONDS"

.PHONY: test-go
test-go: ## every test of this host's kernel, as root; one package at a time: they share the kernel
	go test -p 1 -count=1 -timeout 30m -skip '^TestKube' $(EXEC) $$(go list ./... | grep -Ev '/tools/vm/(smoke|powercut)$$')
	go test -count=1 -run TestLedger ./tools/vm/powercut

.PHONY: test-race
test-race: ## tests of the packages that run goroutines, under the race detector
	go test -race -p 1 -count=1 -timeout 30m -skip '^TestKube' $(EXEC) ./agent/... ./collector/... ./internal/...

# Those packages, and what takes too long or too much for the gate.
KUBE_TESTS := ./internal/testkube ./deploy ./tools/collecting

.PHONY: test-kube
test-kube: kube ## tests with a real etcd and Kubernetes API server, named TestKube…
	CI=true go test -p 1 -count=1 -timeout 20m -run '^TestKube' -skip '^TestKube(Outage|Node)' $(KUBE_TESTS)

.PHONY: test-kube-outage
test-kube-outage: kube ## a collector that is away for longer than a real API server's webhook tries; 4 minutes of waiting
	CI=true go test -count=1 -v -timeout 20m -run '^TestKubeOutage' ./tools/collecting

.PHONY: test-kube-node
test-kube-node: setup build kube-node ## kubectl exec, attach, debug and port-forward into real pods, while agent and collector run (root)
	CI=true go test -count=1 -v -timeout 20m -run '^TestKubeNode' $(EXEC) ./tools/kubenode

# First the whole agent, then the tests of the kernel's side as one static binary. One
# kernel runs with full preemption: there programs are switched away from in their middle.
.PHONY: test-kernels
test-kernels: setup ## the agent and the sensor's tests in VMs, for each kernel line in KERNELS
	SEAWALL_KERNELS='$(KERNELS)' CI=true go test -count=1 -timeout 60m ./tools/vm/smoke
	go build -o build/vm ./tools/vm
	CGO_ENABLED=0 go test -c -trimpath -o build/probe.test ./agent/probe
	CGO_ENABLED=0 go build -trimpath -o build/seawall-attack ./tools/attack
	@for kernel in $(KERNELS); do \
		append=; [ "$$kernel" != $(PREEMPTIBLE) ] || append=preempt=full; \
		printf '\n=== kernel %s %s\n' "$$kernel" "$$append"; \
		build/vm run -kernel "$$kernel" -append "$$append" -mem 1024 -timeout 15m -times \
			-file build/probe.test:/bin/probe.test -file build/seawall-attack:/bin/seawall-attack -- \
			env CI=true SEAWALL_ATTACK=/bin/seawall-attack probe.test -test.v -test.timeout 14m; \
	done

.PHONY: gate-kernels
gate-kernels: KERNELS := $(GATE_KERNELS)
gate-kernels: test-kernels

# Half a minute to two for each round in software emulation, so not in the gate.
.PHONY: power-cut
power-cut: setup ## collector and agent lose their power under load, ROUNDS times (SEED, KERNEL), in a VM
	SEAWALL_POWER_ROUNDS='$(ROUNDS)' SEAWALL_POWER_SEED='$(SEED)' SEAWALL_POWER_KERNEL='$(KERNEL)' CI=true \
		go test -count=1 -v -timeout 120m ./tools/vm/powercut

.PHONY: crash
crash: go-present ## kills, cut networks, full disks and damage for ROUNDS rounds (root); SEED repeats one
	go test -v -count=1 -timeout 12h -run TestCrash $(EXEC) ./tools/whole -rounds $(ROUNDS) $(if $(SEED),-seed $(SEED))

.PHONY: bench
bench: build ## benchmarks, and what the agent costs idle and under a storm (root), with the machine's load
	@echo "machine: $$(nproc) CPUs, load $$(cut -d ' ' -f 1-3 /proc/loadavg), Linux $$(uname -r), $$(go version)"
	go test -run '^$$' -bench . -benchmem -p 1 $(EXEC) ./agent/... ./internal/... ./collector/audit
	CGO_ENABLED=0 go build -o build/seawall-attack ./tools/attack
	go build -o build/bench ./tools/bench
	$(ROOT) build/bench
	@echo "load at the end: $$(cut -d ' ' -f 1-3 /proc/loadavg)"

.PHONY: audit-load
audit-load: build ## a collector under the audit events of a busy API server for a minute, and through outages (ARGS=)
	go build -o build/auditload ./tools/auditload
	build/auditload $(ARGS)
	build/auditload -outage $(ARGS)

.PHONY: vet
vet: go-present
	go vet ./...

.PHONY: lint
lint: go-present ## golangci-lint with .golangci.yml
	$(GOLANGCI) run ./...

.PHONY: format
format: ## format Go and BPF C
	gofmt -w $$(find . -name '*.go' -not -path './build/*')
	$(CFORMAT) -i bpf/*.[ch]

.PHONY: check-format
check-format:
	@unformatted=$$(gofmt -l $$(find . -name '*.go' -not -path './build/*')); \
		[ -z "$$unformatted" ] || { echo "run make format for: $$unformatted" >&2; exit 1; }
	@$(CFORMAT) --dry-run -Werror bpf/*.[ch] || { echo "run make format" >&2; exit 1; }

# What is generated must be what its sources and the recorded compiler make, in any folder.
.PHONY: check-generated
check-generated:
	@before=$$(mktemp -d); trap 'rm -rf "$$before"' EXIT; $(GENERATED) | xargs cp --parents -t "$$before"; \
		$(MAKE) --no-print-directory generate; \
		changed=$$($(GENERATED) | while read -r file; do cmp "$$before/$$file" "$$file" || true; done 2>&1); \
		[ -z "$$changed" ] || { printf '%s\n' "$$changed" >&2; \
			echo "generated files were not current; they are now: commit them" >&2; exit 1; }

.PHONY: clean
clean: ## remove what was built
	rm -rf build
