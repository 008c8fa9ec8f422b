# make test is what must be green before a commit; CONTRIBUTING.md says what the others are for.

GO ?= go
STATICCHECK := bin/staticcheck
FUZZTIME ?= 400000x
SOAK_FUZZTIME ?= 25000x
MODEL_STEPS ?= 34000
SOAK_TIME ?= 10m
CLUSTER_PROGRAMS ?= 100000
SOAK_SEEDS ?= 1000
SOAK_RELOGONS ?= 1000000
SOAK_CLUSTER ?= 15m
SOAK_KILLS ?= 200
SOAK_STORM ?= 10000
SOAK_STORM_CLIENTS ?= 5000

# No debugger looks at what is built here, and without what it needs a compilation takes a quarter less time.
NO_DEBUGGER := -gcflags=all=-dwarf=false
export GOFLAGS := $(filter-out $(NO_DEBUGGER),$(GOFLAGS)) $(NO_DEBUGGER)

.PHONY: test model openssl redis postgres chromium xvfb npm main beside vet vet-bench race race-main race-others race-stores full alloc outside build fuzz soak mutants bench browser hidden clients cluster-demo clean

# The tests of the main module take half of the time, and wait for a part of it: the rest runs beside them, one thing after the other, but for what
# counts allocations. make fails if one of the two does, when the other one has ended.
test: openssl redis postgres chromium xvfb npm
	$(MAKE) -j 2 main beside
	$(MAKE) alloc

main:
	$(MAKE) race-main
	$(MAKE) full

beside:
	$(MAKE) vet
	$(MAKE) race-others
	$(MAKE) outside
	$(MAKE) browser
	$(MAKE) race-stores

# Some TLS tests talk to OpenSSL. Where it is missing it is installed, if apt-get can do it; otherwise they are left out.
openssl:
	@command -v openssl >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update && apt-get install -y openssl; } || \
		{ echo "openssl is missing, so the tests that talk to it are left out: install it (apt-get install openssl, apk add openssl, brew install openssl)" >&2; [ "$$CI" != true ]; }

# The tests of cluster/redisdir start a redis-server of their own, or the program that REDIS_SERVER names, such as valkey-server.
redis:
	@command -v "$(or $(REDIS_SERVER),redis-server)" >/dev/null || \
		{ [ -z "$(REDIS_SERVER)" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update && apt-get install -y redis-server; } || \
		{ echo "redis-server, 7.0 or later, is missing, so the tests of cluster/redisdir are left out: install it (apt-get install redis-server, apk add redis, brew install redis)" >&2; [ "$$CI" != true ]; }

# The tests of chat/sqlstore/postgres and chat/sqlstore/example start servers of their own.
postgres:
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update && apt-get install -y postgresql; } || \
		{ echo "PostgreSQL, 12 or later, is missing, so the tests of chat/sqlstore/postgres are left out: install it (apt-get install postgresql, apk add postgresql, brew install postgresql)" >&2; [ "$$CI" != true ]; }

# The tests of internal/browsertest drive a browser, most of them without a window.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update && apt-get install -y --no-install-recommends chromium; } || \
		{ echo "Chromium is missing, so the tests that drive a browser are left out: install it (apt-get install chromium, apk add chromium, brew install --cask chromium)" >&2; [ "$$CI" != true ]; }

# Tabs can be hidden in a browser that has windows: on a display of Xvfb, an X server that has no screen.
xvfb:
	@command -v Xvfb >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update && apt-get install -y --no-install-recommends xvfb; } || \
		{ echo "Xvfb is missing, so the tests of hidden tabs are left out: install it (apt-get install xvfb, apk add xvfb)" >&2; [ "$$CI" != true ]; }

# The tests of internal/browsertest check the types of a page's script, with tsc, and what axe-core says to it. Both come with npm, by a lock file.
NPM := internal/browsertest/testdata/npm

npm:
	@{ command -v node && command -v npm; } >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update && apt-get install -y --no-install-recommends nodejs npm; } || \
		{ echo "node and npm are missing, so the tests of a page's types and accessibility are left out: install them (apt-get install nodejs npm, apk add nodejs npm, brew install node)" >&2; [ "$$CI" != true ]; }
	@[ -e $(NPM)/node_modules/.package-lock.json ] && [ ! $(NPM)/package-lock.json -nt $(NPM)/node_modules/.package-lock.json ] || ! command -v npm >/dev/null || \
		(cd $(NPM) && npm ci --no-audit --no-fund) || \
		{ echo "npm cannot fetch what the lock file has, so the tests of a page's types and accessibility are left out" >&2; [ "$$CI" != true ]; }

vet: $(STATICCHECK)
	$(GO) vet ./...
	$(STATICCHECK) ./...
	cd metrics && $(GO) vet ./... && ../$(STATICCHECK) ./...
	cd cluster/redisdir && $(GO) vet ./... && ../../$(STATICCHECK) ./...
	cd chat/sqlstore && $(GO) vet ./... && ../../$(STATICCHECK) ./...
	cd internal/browsertest && $(GO) vet ./... && ../../$(STATICCHECK) ./...
	cd examples/kcp && $(GO) vet ./... && ../../$(STATICCHECK) ./...
	cd examples/quic && $(GO) vet ./... && ../../$(STATICCHECK) ./...

# The benchmark needs packages of its own, which are not needed to change Rollcall.
vet-bench:
	cd bench && $(GO) vet ./...

race: race-main race-others race-stores

# go test need not vet what make vet does.
race-main:
	all=$$($(GO) list ./...) && $(GO) test -race -vet=off -timeout 30m $(LONGEST) $$(echo "$$all" | grep -vE '/($(PLAIN)|internal/soak)$$')
	$(GO) test -race -vet=off -run '^TestStress$$' ./internal/soak

# What has no goroutines of its own runs without the race detector, and so does SQLite (race-stores), which is 7 times slower with it. So do those tests of
# internal/soak that measure: with the race detector they do not look at the memory.
race-others:
	all=$$($(GO) list ./...) && $(GO) test -vet=off $$(echo "$$all" | grep -E '/($(PLAIN))$$')
	$(GO) test -vet=off -skip '^TestStress$$' ./internal/soak
	cd metrics && $(GO) test -race -vet=off ./...
	cd cluster/redisdir && $(GO) test -race -vet=off -timeout 30m -parallel 4 ./... # most of them wait
	cd examples/kcp && $(GO) test -race -vet=off ./...
	cd examples/quic && $(GO) test -race -vet=off ./...
	cd bench && $(GO) test -race ./interop

race-stores:
	cd chat/sqlstore && $(GO) test -vet=off . ./sqlite
	cd chat/sqlstore && $(GO) test -race -vet=off -timeout 30m ./postgres ./example
	cd chat/sqlstore && $(GO) test -race -vet=off -run "$(SQLITE_RACE)" ./sqlite

# The packages that take longest begin first, so that none of them runs alone at the end.
LONGEST := ./engine ./cluster ./usermgr ./bridge

# Packages without goroutines.
PLAIN := protocol|internal/doccheck|internal/layout|internal/mutants|internal/system|internal/wsframe

# The tests of SQLite in which several goroutines use a store.
SQLITE_RACE := TestAFileMayBeOpenedAtOnce|TestStore/(NumbersHaveNoGaps|OfRepeats|PagesAreWhole|MembersAndTheirGroup)

# Tests that do less with the race detector run at full size without it: the models of the user manager, of the cluster and of datagrams, tests of engine
# and push that send a lot, in engine over all transports, and the 10,000 logons over three nodes for each fault of a cluster.
FULL_ENGINE := UDPModel|BesideTLSModel|KeepsUp|NotTakenForASlowOne|WhileThePeerCatchesUp|DeliversWhatWasQueued|GarbageGetsItsNotice|IsGoneAtCloseTimeout|GetsAllAnswers|ClosesTheWorstFirst|WhatWaitsToBeRead|AnswerIsTooLarge|FirstFrameIsLimited|TellsTheSender|KeepTheNewest|ClosesASlowConnection|WithSlowDropNewest|ShareOneOrder|SimpleListWouldBe

full:
	$(GO) test -vet=off -run '^TestModel$$' ./usermgr
	$(GO) test -vet=off -run '^TestModel(WithMarks)?$$|^TestADayOfFaults' ./cluster
	$(GO) test -vet=off -run '($(FULL_ENGINE))$$' ./engine
	$(GO) test -vet=off -run '^Test(PushUnderChurn|Model)$$' ./push
	$(GO) test -vet=off -run '^Test(Model|AFaultAtEachCallOfTheStore)$$' ./chat
	$(GO) test -vet=off -run '^TestFrozenEventHandlerHoldsItsUserAlone$$' ./bridge
	cd cluster/redisdir && $(GO) test -vet=off -timeout 30m -parallel 4 -run '^TestNoUserIsTwice$$' .

# What users of chat do, MODEL_STEPS of it in each of three programs, with the race detector: some minutes.
model:
	CHAT_STEPS=$(MODEL_STEPS) $(GO) test -race -vet=off -count=1 -timeout 30m -run '^TestModel$$' ./chat

# Allocations are counted without the race detector, which allocates on its own account, in the packages that have such tests.
alloc:
	$(GO) test -vet=off -run Alloc $$(grep -rl --include='*_test.go' '^func Test.*Alloc' . | xargs -n 1 dirname | sort -u)

# Programs outside the repository have the public modules, as users do.
outside:
	GO=$(GO) internal/outside/run.sh

# What is the same on every system is tested with 32-bit integers too.
PURE := ./protocol ./heartbeat ./usermgr ./client ./push ./presence ./chat ./internal/bodies ./internal/codes ./internal/contain ./internal/contract ./internal/system ./internal/table ./internal/wheel

build:
	GOOS=linux GOARCH=386 $(GO) vet ./...
	GO=$(GO) internal/bits32/run.sh $(PURE)
	GOOS=linux GOARCH=arm64 $(GO) build ./...
	GOOS=darwin GOARCH=arm64 $(GO) build ./...
	GOOS=windows GOARCH=amd64 $(GO) build ./...

# Every fuzz target of every package, FUZZTIME each: a number of inputs (400000x) rather than a time, since the go command
# now and then reports a time that runs out as a failure of the target ("context deadline exceeded"). An input of
# internal/soak is a whole story on real sockets, and one of chat a request to a whole server, so that there are fewer of them, about a
# minute's; what they cover is never quite the same twice, so that it does not pay to make them smaller.
fuzz:
	@set -e; for pkg in $$($(GO) list ./...); do \
		time="$(FUZZTIME)"; \
		case $$pkg in */internal/soak|*/chat) time="$(SOAK_FUZZTIME) -fuzzminimizetime 10x";; esac; \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "fuzzing $$pkg $$target for $$time"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $$time $$pkg; \
		done; \
	done

# The tests of internal/soak at full size; the longest one takes SOAK_TIME. TestStress looks for races, and measures nothing. Then
# SOAK_RELOGONS logons over three nodes for each fault of a cluster, and 10,000 clients of five nodes for SOAK_CLUSTER, and SOAK_KILLS ends of a store of chat, in SQLite
# and PostgreSQL, in full flow, and SOAK_STORM users of presence, each with a tenth of them as contacts, who all come at once, and
# SOAK_STORM_CLIENTS clients of chat in groups of 100, whose connections are all cut at once.
soak: postgres
	SOAK_SEEDS=$(SOAK_SEEDS) $(GO) test -race -count=1 -timeout 1h -run '^TestStress$$' ./internal/soak
	CLUSTER_PROGRAMS=$(CLUSTER_PROGRAMS) $(GO) test -count=1 -timeout 12h -run '^TestModel(WithMarks|OfOverlappingFaults)?$$' ./cluster
	SOAK_TIME=$(SOAK_TIME) $(GO) test -count=1 -v -timeout 2h -run Test -skip '^TestStress$$' ./internal/soak
	cd cluster/redisdir && SOAK_RELOGONS=$(SOAK_RELOGONS) $(GO) test -count=1 -v -timeout 4h -run '^TestNoUserIsTwice$$' .
	cd cluster/redisdir && SOAK_CLUSTER=$(SOAK_CLUSTER) $(GO) test -count=1 -v -timeout 1h -run '^TestSoak$$' .
	SOAK_STORM=$(SOAK_STORM) $(GO) test -count=1 -v -timeout 1h -run '^TestStorm$$' ./presence
	SOAK_STORM_CLIENTS=$(SOAK_STORM_CLIENTS) $(GO) test -count=1 -v -timeout 1h -run '^TestStormOverSockets$$' ./chat
	cd chat/sqlstore && SOAK_KILLS=$(SOAK_KILLS) $(GO) test -count=1 -v -timeout 2h -run 'LosesNothing$$' ./sqlite ./postgres ./example

# Breaks the rules of the contract one by one, in a copy, and requires that a test notices each time, and says which rule it was.
mutants: redis
	$(GO) run ./internal/mutants

bench:
	cd bench && $(GO) run ./cmd/bench

# A real browser, Chromium, against servers of the tests' own, with and without TLS, and examples/webchat. No result is kept, since go test
# does not know what else it depends on: the browser, the program that it builds, and the page. SCREENSHOTS=FOLDER keeps pictures.
browser: chromium xvfb npm
	cd internal/browsertest && $(GO) test -vet=off -count=1 -parallel 4 -skip '^TestHiddenTabs$$/^PageTimeout$$' ./... # most of them wait

# A page is hidden for longer than the minute in which it sends one heartbeat: too long for make test.
hidden: chromium xvfb
	cd internal/browsertest && $(GO) test -vet=off -count=1 -run '^TestHiddenTabs$$/^PageTimeout$$' ./...

# The clients in other languages, their own tests and the suite that judges them all. Each language's Makefile installs what it needs, if apt-get can do
# it; otherwise the language is left out, and that is said.
clients: chromium
	GO=$(GO) MAKE=$(MAKE) clients/run.sh

# A redis-server, three nodes and some clients, and what happens to them, in words.
cluster-demo: redis
	cd cluster/redisdir && $(GO) run ./example -demo

$(STATICCHECK): tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../$(STATICCHECK) honnef.co/go/tools/cmd/staticcheck

clean:
	rm -rf bin
