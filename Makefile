# The verbs of the project. Meson and ninja do the building; this names what people type.
# `make help` prints the comments behind the double hashes.

BUILD  ?= build
PREFIX ?= /usr/local
WERROR = $(if $(CI),-Dwerror=true)
MESON_OPTIONS ?= --buildtype=debugoptimized $(WERROR)
# Two warnings of gcc follow code that only the sanitizers make.
MESON_ASAN = --buildtype=debug -Doptimization=1 -Db_sanitize=address,undefined -Db_lundef=false $(WERROR) \
	"-Dc_args=['-Wno-format-truncation', '-Wno-maybe-uninitialized']"
RUN = scripts/run-tests.sh

.PHONY: help demo deps build test unit wire compatibility asan sim soak gdb lint format bench bench-peers engine-from-source install dist-libfal deb deb-test abi abi-baseline clean
.NOTPARALLEL:

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | \
	    while IFS='|' read -r verb text; do printf '%-26s %s\n' "$$verb" "$$text"; done

demo: deps build ## fetch a small real model and its engine, ask it something through anyllm, show every step
	@scripts/fetch-model.sh
	@scripts/fetch-engine.sh
	@scripts/demo.sh $(BUILD)/anyllm

deps: ## install what is missing of the packages the build needs (Debian 12 and 13)
	@scripts/deps.sh build

build: $(BUILD)/build.ninja ## build/anyllm and build/libfal.*
	@scripts/deps.sh build
	@scripts/ninja.sh $(BUILD)

test: ## install what the tests need, run them all; the last line counts them
	@$(MAKE) --no-print-directory build-tests
	@scripts/fetch-model.sh || echo 'no model: the tests against it will be skipped' >&2
	@scripts/fetch-engine.sh || echo 'no engine: the tests against it will be skipped' >&2
	@$(RUN) $(BUILD) all

unit: ## the tests of the rooms; T=NAME runs the test functions whose names contain NAME
	@$(MAKE) --no-print-directory build-tests
	@T='$(T)' $(RUN) $(BUILD) unit

wire: ## the tests through sockets, with fal's official clients; T=NAME as above
	@$(MAKE) --no-print-directory build-tests
	@T='$(T)' $(RUN) $(BUILD) wire

compatibility: ## run the tests through sockets and write what they show of each client into docs/compatibility.md
	@$(MAKE) --no-print-directory build-tests
	@COMPATIBILITY=write $(RUN) $(BUILD) wire

asan: build-asan/build.ninja ## the tests of the rooms, and failing allocations, under AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/ninja.sh build-asan
	@T='$(T)' $(RUN) build-asan unit memory

sim: ## simulate servers that crash, stand still and lose their store: SEEDS=5000 worlds; SEED=n repeats one, step by step
	@$(MAKE) --no-print-directory build-tests
	@$(BUILD)/test/sim/sim $(if $(SEED),--verbose $(SEED),1 $(or $(SEEDS),5000))

soak: build-asan/build.ninja ## the long forms of the suites that kill the server, cut its power and simulate it, with their figures (half an hour)
	@$(MAKE) --no-print-directory build-tests
	@scripts/ninja.sh build-asan test/wire/anyllm-failing test/wire/test_failing_memory test/mock/mockllm
	@scripts/soak.sh $(BUILD) build-asan

gdb: ## one test function under gdb: make gdb T=NAME
	@$(MAKE) --no-print-directory build-tests
	@T='$(T)' scripts/gdb-test.sh $(BUILD)

lint: ## formatting, banned functions, arrows between rooms, options documented, long functions
	@scripts/deps.sh lint
	@scripts/lint.sh

format: ## let clang-format 19 lay the C files out (FILES=… for some of them)
	@scripts/deps.sh lint
	@clang-format-19 -i $(if $(FILES),$(FILES),$$(git ls-files '*.c' '*.h'))

bench: ## measure against nginx on this machine; writes bench/RESULTS.md
	@scripts/deps.sh build bench
	@$(MAKE) --no-print-directory build
	@bench/run.sh $(BUILD)

bench-peers: ## install what make bench compares with: LiteLLM, Portkey (cache folder), beanstalkd, PostgreSQL (as root)
	@bench/peers.sh

engine-from-source: ## build llama-server from llama.cpp's source into the cache folder (10 to 20 minutes on 2 cores)
	@scripts/engine-from-source.sh

install: build ## PREFIX=/usr/local DESTDIR=: program, library, header, fal.pc, CMake package, man pages, completions, examples
	@meson setup --reconfigure $(BUILD) -Dprefix='$(abspath $(PREFIX))' >$(BUILD)/setup.log
	@scripts/ninja.sh $(BUILD)
	@DESTDIR='$(DESTDIR)' meson install -C $(BUILD) --no-rebuild --quiet
	@[ -n '$(DESTDIR)' ] || [ "$$(id -u)" != 0 ] || ! [ -x /sbin/ldconfig ] || /sbin/ldconfig

dist-libfal: ## libfal as a folder to vendor, build/libfal: fal.c, fal.h, yyjson's two files, LICENSE, README
	@scripts/amalgamate.sh $(BUILD)/libfal

deb: ## Debian packages of libfal0, libfal-dev and anyllm for this release, into build/deb
	@scripts/deps.sh build deb
	@scripts/deb.sh $(BUILD)/deb

deb-test: deb build ## install them into a bare Debian (mmdebstrap, as root), ask the README's question there, purge them
	@scripts/deb-test.sh $(BUILD)/deb $(BUILD)

abi: build ## libfal's binary interface against packaging/abi: ends with 1 when programs built before would break
	@scripts/deps.sh build deb
	@scripts/abi.sh check $(BUILD)

abi-baseline: build ## write it anew, with each release
	@scripts/deps.sh build deb
	@scripts/abi.sh baseline $(BUILD)

clean: ## remove everything that was built here (the cache folder with engine and model stays)
	@rm -rf $(BUILD) build-asan .deps test/wire/node_modules

# A folder that was configured before cmocka was there has no tests: look again.
.PHONY: build-tests
build-tests: $(BUILD)/build.ninja
	@scripts/deps.sh build test
	@grep -q '"cmocka"' $(BUILD)/meson-info/intro-dependencies.json || \
	    meson setup --reconfigure $(BUILD) >$(BUILD)/setup.log
	@scripts/ninja.sh $(BUILD)

$(BUILD)/build.ninja:
	@scripts/deps.sh build
	@mkdir -p $(BUILD)
	@meson setup $(BUILD) $(MESON_OPTIONS) >$(BUILD)/setup.log || { tail -n 20 $(BUILD)/setup.log >&2; exit 1; }

build-asan/build.ninja:
	@scripts/deps.sh build test
	@mkdir -p build-asan
	@meson setup build-asan $(MESON_ASAN) >build-asan/setup.log || { tail -n 20 build-asan/setup.log >&2; exit 1; }
