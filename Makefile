# moldau. `make` lists what can be made.

TOOL := go tool -modfile=.ci/tools/go.mod
BUF  := go tool -modfile=.ci/buf/go.mod buf
FUZZTIME ?= 5s
IMAGE ?= moldau:dev
MOLDAU_SIM_SEEDS ?= 2000
# Hand-written Go; proto/gen is generated.
PACKAGES = $(shell go list ./... | grep -v /proto/gen/)

.DEFAULT_GOAL := help

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: ## run the whole platform in one process
	go run ./services/moldau up

build: ## build bin/moldau
	CGO_ENABLED=0 go build -trimpath -o bin/moldau ./services/moldau

test: ## vet, format check and all tests
	go vet ./...
	@unformatted=$$(find . -name '*.go' -not -path './proto/gen/*' | xargs gofmt -l); \
		if [ -n "$$unformatted" ]; then echo "not formatted: $$unformatted"; exit 1; fi
	go test -timeout 10m ./...

race: ## all tests under the race detector
	go test -race -timeout 15m ./...

fuzz: ## run each fuzz target for FUZZTIME
	@go list ./... | while read -r pkg; do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "fuzz $$pkg $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; done

lint: ## staticcheck, and buf's lint and format check
	$(TOOL) staticcheck $(PACKAGES)
	$(BUF) lint
	$(BUF) format --diff --exit-code --path proto/moldau

generate: ## generate proto/gen anew
	$(BUF) generate --template proto/buf.gen.yaml

bench: ## run the Go benchmarks
	go test -run '^$$' -bench . -benchmem $(PACKAGES)

bench-platform: ## measure the platform's processes, 5 rounds or MOLDAU_BENCH_ROUNDS; takes a quiet machine and half an hour
	go test -v -tags bench -count=1 -timeout 60m ./services/test/bench/run

browser: ## tail a topic in headless Chromium; as root, installs Debian's where there is none
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } || \
		{ echo "no Chromium here; Debian's package is called chromium" >&2; exit 1; }
	go test -count=1 -timeout 5m -tags browser -run '^TestBrowser' ./services/test/e2e

exactly-once: ## carry order lines exactly once with nothing but curl, and kill what takes part; takes curl and jq, and minutes
	go test -count=1 -timeout 15m -tags exactlyonce -run '^TestCurl' -v ./services/test/e2e

mutants: ## break one rule after the other, and see that the simulator notices each
	go test -count=1 -timeout 60m -v -tags mutants -run '^TestEveryMutant' ./services/test/simulator

simulate: ## run MOLDAU_SIM_SEEDS seeds of the simulator (2000) from MOLDAU_SIM_FIRST (1) on
	MOLDAU_SIM_SEEDS=$(MOLDAU_SIM_SEEDS) go test -count=1 -timeout 60m -v -run '^TestSeeds' ./services/test/simulator

faults: consul ## break clusters for MOLDAU_FAULT_SECONDS each (120) and judge what clients saw
	go test -count=1 -timeout 60m -tags faults -v ./services/test/faults

consul: ## build bin/consul, a real Consul server for tests; minutes where nothing is cached
	@mkdir -p bin
	cd .ci/consul && CGO_ENABLED=0 go build -trimpath -o ../../bin/consul github.com/hashicorp/consul

consul-test: consul ## test against real Consul servers, with their faults
	go test -count=1 -p 1 -timeout 10m -tags consul ./metadata/store ./services/discovery ./services/test/takeover

bench-kafka: ## measure the Kafka door beside Apache Kafka, 3 rounds or MOLDAU_BENCH_ROUNDS; takes a quiet machine and 20 minutes
	./services/test/kafkaclients/install
	go test -v -tags benchkafka -count=1 -timeout 60m ./services/test/bench/kafka

power: ## cut the power of storage nodes under load, MOLDAU_POWER_CUTS times (20); takes Linux and root
	go test -count=1 -timeout 90m -tags power -v -run '^TestPowerCuts$$' ./services/test/cluster

kafka-clients: ## install Kafka clients of other makers and have them work against the platform; as root, with Debian's packages
	./services/test/kafkaclients/install
	go test -count=1 -timeout 20m -tags kafkaclients -v ./services/test/kafkaclients

kafka-diff: ## ask Apache Kafka and the platform the same requests and compare their answers
	./services/test/kafkaclients/install
	go test -count=1 -timeout 10m -tags kafkadiff -v ./services/test/kafkadiff

elasticity: ## add, drain, remove and restart nodes under load
	go test -count=1 -timeout 10m -tags elasticity -run '^TestNodes' -v ./services/test/cluster

upgrade: ## make a cluster of an earlier build one of this build, process by process, under load
	go test -count=1 -timeout 10m -tags upgrade -v -run '^TestRollingUpgrade$$' ./services/test/cluster

scale: ## measure 10,000 partitions on one node
	go test -count=1 -timeout 15m -tags scale -run '^TestTenThousandPartitions$$' -v ./services/test/e2e

group-scale: ## measure 1,000 groups of 5,000 members on one coordinator, its failover and the loading of journals
	go test -count=1 -timeout 15m -tags scale -run '^TestAThousandGroupsOnOneCoordinator$$' -v ./services/test/e2e

image: ## build the image $(IMAGE), as docker-compose up does
	docker build --build-arg GOPROXY --tag $(IMAGE) --file services/deploy/Dockerfile .

compose-test: consul ## start docker-compose.yml and kill each container under load; needs a Docker engine and the ports free
	go test -count=1 -timeout 20m -tags compose -v ./services/test/compose

.PHONY: help up build test race fuzz lint generate bench bench-platform bench-kafka browser exactly-once simulate mutants faults power kafka-clients kafka-diff elasticity upgrade scale group-scale consul consul-test image compose-test
