# SPDX-License-Identifier: BSD-2-Clause
# The whole build. Objects, generated headers and dependency files live in $(BUILD).
#
#   make            build/bufscope
#   make deps       install what building needs, from the distribution's packages (root)
#   make deps-test  and what the tests need
#   make demo       install, build, trace an embedded workload, show the summary
#   make demo-ttnn  the same with the real runtime from PyPI (needs Python 3.10 or 3.12)
#   make check      install, build, run every test this machine can run (tests/run)
#   make check-kernels  the integration core on Debian's 6.1 and 6.12 kernels, and on this one
#   make check-clean-machine  the package on a clean Debian 12, with systemd and the real runtime
#   make unit       only build the unit tests
#   make asan       bufscope under the address and undefined-behaviour sanitizers
#   make fuzz       the fuzz targets (tests/check-fuzz runs them)
#   make install    PREFIX=/usr/local, DESTDIR; make deb builds a Debian package
#   make bench      what an event costs, as ratios; the collector's speed and memory

VERSION := 0.1.0
BUILD ?= build
CC ?= gcc
CLANG ?= clang
BPFTOOL ?= $(or $(shell command -v bpftool 2>/dev/null),/usr/sbin/bpftool)

CPPFLAGS += -D_GNU_SOURCE -DBUFSCOPE_VERSION='"$(VERSION)"' -Iuser -Ibpf -I$(BUILD)/gen
CFLAGS ?= -O2 -g
CFLAGS_ALL := -std=gnu11 -Wall -Wextra -Werror -Wmissing-prototypes -Wstrict-prototypes -Wshadow -fno-strict-aliasing $(CFLAGS)
LDLIBS := -lbpf -lelf -lz -lcapstone -ljansson -lzstd -lcap-ng -lseccomp -lmicrohttpd -lncursesw
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer

USER_SRC := $(sort $(shell find user -name '*.c'))
LIB_SRC := $(filter-out user/main.c,$(USER_SRC))
USER_OBJ := $(USER_SRC:%.c=$(BUILD)/%.o)
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o)
UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
UNIT_BIN := $(UNIT_SRC:%.c=$(BUILD)/%)

# One short line a step; V=1 shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-6s %s\n' $(1) $(2))

all: $(BUILD)/bufscope

$(BUILD)/bufscope: $(USER_OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/user/%.o: user/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

# BPF: compiled for the newest instruction set that kernel 5.15 runs, then a skeleton.
MULTIARCH := $(shell $(CC) -print-multiarch 2>/dev/null)
BPF_CFLAGS := -g -O2 -Wall -Werror -target bpf -mcpu=v3 -Ivmlinux -Ibpf $(if $(MULTIARCH),-idirafter /usr/include/$(MULTIARCH))

$(BUILD)/bpf/%.bpf.o: bpf/%.bpf.c
	@mkdir -p $(@D)
	$(call say,BPF,$@)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -MT $@ -c -o $@.tmp $<
	$(Q)$(BPFTOOL) gen object $@ $@.tmp
	@rm -f $@.tmp

$(BUILD)/gen/%.skel.h: $(BUILD)/bpf/%.bpf.o
	@mkdir -p $(@D)
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $(subst -,_,$*) > $@.tmp
	$(Q)mv $@.tmp $@

# Only source/live.c may include the skeleton.
$(BUILD)/user/source/live.o $(BUILD)/asan/user/source/live.o: $(BUILD)/gen/tracer.skel.h

# Unit tests: the sanitized objects in an archive, so each test links the modules it names and no more.
$(BUILD)/asan/user/%.o: user/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) $(SANITIZE) -MMD -MP -c -o $@ $<

$(BUILD)/asan/libbufscope.a: $(LIB_SRC:%.c=$(BUILD)/asan/%.o)
	@rm -f $@
	$(Q)ar rcs $@ $^

# malloc and friends can be made to fail in tests that include fail_alloc.h
WRAP := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup,--wrap=strndup
$(BUILD)/tests/unit/%: tests/unit/%.c $(BUILD)/asan/libbufscope.a
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) -Itests/unit $(CFLAGS_ALL) $(SANITIZE) -MMD -MP -o $@ $< $(BUILD)/asan/libbufscope.a \
		$(if $(shell grep -l fail_alloc.h $<),$(WRAP)) $(LDLIBS) -lcmocka

# The stand-in's source goes in by .incbin, which -MMD does not see.
$(BUILD)/tests/unit/test_tt_metal $(BUILD)/tests/unit/test_library: tests/unit/standin_tt_metal.cpp

# Its clock can be turned.
$(BUILD)/tests/unit/test_control: LDLIBS += -Wl,--wrap=clock_gettime

unit: $(UNIT_BIN)

$(BUILD)/tests/check_vmlinux: tests/check_vmlinux.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -o $@ $< -lbpf

include tests/tests.mk
include docs/install/install.mk

# Benchmarks: ratios measured side by side.
$(BUILD)/bpf/bench.bpf.o: tests/bench/bench.bpf.c
	@mkdir -p $(@D)
	$(call say,BPF,$@)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -MT $@ -c -o $@.tmp $<
	$(Q)$(BPFTOOL) gen object $@ $@.tmp
	@rm -f $@.tmp

$(BUILD)/libbufscope.a: $(LIB_OBJ)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(BUILD)/tests/bench/%: tests/bench/%.c $(BUILD)/libbufscope.a $(BUILD)/gen/bench.skel.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -MMD -MP -o $@ $< $(BUILD)/libbufscope.a $(LDLIBS)

bench: all $(BUILD)/tests/bench/bench_probe $(BUILD)/tests/bench/bench_model
	$(BUILD)/tests/bench/bench_probe
	$(BUILD)/tests/bench/bench_model
	BUILD=$(BUILD) tests/bench/bench_idle.py

clean:
	rm -rf $(BUILD)

.PHONY: all unit clean bench
.DELETE_ON_ERROR:
.SECONDARY:

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
