# SPDX-License-Identifier: BSD-2-Clause
# Test programs; included by the Makefile.

# The stand-in runtime, in both object layouts. clang, because the real library is built with it and
# its accessors are what the layout learner reads; no frame pointers and no interposition of inlines,
# as in the released wheels.
CLANGXX ?= clang++
STANDIN_SRC := $(addprefix tests/standin/,buffer.cc graph_tracking.cc allocator.cc device.cc extract_locals.cc api.cc absent.cc)
STANDIN_CXXFLAGS := -std=c++17 -O2 -fPIC -fomit-frame-pointer -fvisibility-inlines-hidden -pthread -Wall -Wextra -Werror
STANDIN_PLAIN := $(BUILD)/tests/standin/plain/libstandin_tt_metal.so
STANDIN_PIMPL := $(BUILD)/tests/standin/pimpl/libstandin_tt_metal.so
STANDIN_WORKLOAD := $(BUILD)/tests/standin/standin-workload

$(BUILD)/tests/standin/plain/%.o: tests/standin/%.cc
	@mkdir -p $(@D)
	$(call say,CXX,$@)
	$(Q)$(CLANGXX) $(STANDIN_CXXFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/standin/pimpl/%.o: tests/standin/%.cc
	@mkdir -p $(@D)
	$(call say,CXX,$@)
	$(Q)$(CLANGXX) $(STANDIN_CXXFLAGS) -DSTANDIN_PIMPL -MMD -MP -c -o $@ $<

$(STANDIN_PLAIN): $(STANDIN_SRC:tests/standin/%.cc=$(BUILD)/tests/standin/plain/%.o)
	$(call say,LINK,$@)
	$(Q)$(CLANGXX) -shared -pthread -Wl,--build-id -Wl,-soname,$(@F) -o $@ $^

$(STANDIN_PIMPL): $(STANDIN_SRC:tests/standin/%.cc=$(BUILD)/tests/standin/pimpl/%.o)
	$(call say,LINK,$@)
	$(Q)$(CLANGXX) -shared -pthread -Wl,--build-id -Wl,-soname,$(@F) -o $@ $^

$(STANDIN_WORKLOAD): tests/standin/workload.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu11 -Wall -Wextra -Werror -O2 -g -pthread -MMD -MP -o $@ $< -ldl

# The demo's workload: the newest layout, found beside it.
$(BUILD)/demo-workload: tests/standin/demo.cc $(STANDIN_PIMPL)
	@mkdir -p $(@D)
	$(call say,CXX,$@)
	$(Q)$(CLANGXX) -std=c++17 -O2 -g -Wall -Wextra -Werror -MMD -MP -o $@ $< $(STANDIN_PIMPL) -Wl,-rpath,'$$ORIGIN/tests/standin/pimpl'

# A model and the metrics endpoint, without BPF.
METRICS_SERVER := $(BUILD)/tests/standin/metrics-server
$(METRICS_SERVER): tests/standin/metrics_server.c $(BUILD)/libbufscope.a
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) -Itests/unit $(CFLAGS_ALL) -MMD -MP -o $@ $< $(BUILD)/libbufscope.a $(LDLIBS)

# Linked with the C++ library, so that its children need not load that.
STANDIN_MANY := $(BUILD)/tests/standin/standin-many
$(STANDIN_MANY): tests/standin/many.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu11 -Wall -Wextra -Werror -O2 -g -MMD -MP -o $@ $< -Wl,--no-as-needed -lstdc++ -ldl

# Preloaded into bufscope it makes that late, as a busy machine does.
LATE_WAKE := $(BUILD)/tests/late_wake.so
$(LATE_WAKE): tests/late_wake.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu11 -Wall -Wextra -Werror -O2 -g -fPIC -shared -MMD -MP -o $@ $< -ldl

standin: $(STANDIN_PLAIN) $(STANDIN_PIMPL) $(STANDIN_WORKLOAD) $(BUILD)/demo-workload $(METRICS_SERVER) $(LATE_WAKE) $(STANDIN_MANY)

.PHONY: standin

# Fuzz targets: libFuzzer, so all of it by clang. tests/check-fuzz runs them; docs/testing.md tells how to fuzz for longer.
FUZZ_CFLAGS := -std=gnu11 -Wall -Wextra -Werror -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
FUZZ_LIB_SRC := $(filter user/base/% user/elf/% user/model/% user/runtime/% user/view/% user/event.c user/cmd/options.c user/cmd/query.c \
	user/server/protocol.c user/source/decode.c user/source/procfs.c user/source/core_%,$(LIB_SRC))
FUZZ_BIN := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))

$(BUILD)/fuzz/user/%.o: user/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CLANG) $(CPPFLAGS) $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<

$(BUILD)/fuzz/libbufscope.a: $(FUZZ_LIB_SRC:%.c=$(BUILD)/fuzz/%.o)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(BUILD)/tests/fuzz/%: tests/fuzz/%.c $(BUILD)/fuzz/libbufscope.a
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CLANG) $(CPPFLAGS) -Itests/fuzz -DSTANDIN_PLAIN='"$(STANDIN_PLAIN)"' -DSTANDIN_PIMPL='"$(STANDIN_PIMPL)"' \
		$(FUZZ_CFLAGS) -fsanitize=fuzzer -MMD -MP -o $@ $< $(BUILD)/fuzz/libbufscope.a $(LDLIBS) $(FUZZ_LINK)

$(BUILD)/tests/fuzz/fuzz_options: FUZZ_LINK := -Wl,--wrap=exit
# It changes the stand-in libraries.
$(BUILD)/tests/fuzz/fuzz_learn: $(STANDIN_PLAIN) $(STANDIN_PIMPL)

fuzz: $(FUZZ_BIN)

.PHONY: fuzz

# bufscope itself under the sanitizers, and a library that makes calls fail: tests/integration/test_faults.py.
INJECT := $(BUILD)/tests/inject.so
$(BUILD)/bufscope-asan: $(USER_SRC:%.c=$(BUILD)/asan/%.o)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(SANITIZE) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(INJECT): tests/inject.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu11 -Wall -Wextra -Werror -Wno-nonnull-compare -O2 -g -fPIC -shared -MMD -MP -o $@ $< -ldl

asan: $(BUILD)/bufscope-asan $(INJECT)

.PHONY: asan

# The test command of the README. Where it cannot install anything it says what is missing and goes on.
check:
	tests/deps.sh --if-root test
	tests/run

# The integration core on Debian's kernels under QEMU and on the running one.
check-kernels:
	tests/deps.sh --if-root test
	tests/run kernels

# The package on a clean Debian 12 with systemd, under QEMU, with the real runtime. Not a part of "check": some minutes.
check-clean-machine: all
	tests/deps.sh --if-root test
	tests/clean-machine/trial.py

# After a change of the BPF programs: what the verifier needs for each, on each kernel.
verifier-record: all standin
	tests/kernels/boot.py --record

deps:
	tests/deps.sh build

deps-test:
	tests/deps.sh test

# What is missing is installed first, so the build must be a make of its own. 137: killed, as it should be.
DEMO_COMMAND := $(BUILD)/bufscope run -- $(BUILD)/demo-workload --kill
demo:
	@tests/deps.sh --if-root build
	@$(MAKE) --no-print-directory -s all $(BUILD)/demo-workload
	@printf '\n$$ %s\n' '$(DEMO_COMMAND)'
	@$(DEMO_COMMAND) || [ $$? -eq 137 ]

# The same on the real runtime: Python 3.10 or 3.12, and some 600 MB from the package index.
DEMO_TTNN_VERSION ?= 0.81.1
DEMO_TTNN_COMMAND := $(BUILD)/bufscope run -- tests/ttnn/setup.py run $(DEMO_TTNN_VERSION) t3k suicide 12
demo-ttnn:
	@tests/deps.sh --if-root test
	@$(MAKE) --no-print-directory -s all
	@tests/ttnn/setup.py install $(DEMO_TTNN_VERSION) >/dev/null
	@printf '\n$$ %s\n' '$(DEMO_TTNN_COMMAND)'
	@yes "" | $(DEMO_TTNN_COMMAND) || [ $$? -eq 137 ]

.PHONY: check check-kernels check-clean-machine verifier-record deps deps-test demo demo-ttnn
