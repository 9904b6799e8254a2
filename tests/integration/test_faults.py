# SPDX-License-Identifier: BSD-2-Clause
"""
Every call that can fail is made to fail, one after the other: memory, files, mappings, BPF, perf
events, epoll, reads (tests/inject.c). bufscope ends with a clear line and the right status, what it
traces goes on untouched, and a report is never wrong without saying so.

Where calls are many, one of each kind of stack fails, as told by a run in which none does;
BUFSCOPE_FAULTS=all tries each call. tests/run runs this file with the sanitized bufscope.
"""
import itertools
import json
import os
import re
import signal
import subprocess
import time

import jsonschema
import pytest

import harness

KINDS = ("bpf", "epoll", "malloc", "mmap", "open", "perf_event_open", "read")
INJECT = os.path.join(harness.BUILD, "tests", "inject.so")
# What the C library loses when it runs out of memory in setlocale() is not ours.
SUPPRESSED = "leak:_nl_normalize_codeset\nleak:setlocale\n"
# How many frames of bufscope's own tell calls apart; every call is tried of kinds that are not here.
RUN_FRAMES = {"malloc": 1, "read": 6}
ATTACH_FRAMES = {"malloc": 1, "read": 2, "open": 2, "bpf": 2}
EVERY = os.environ.get("BUFSCOPE_FAULTS") == "all"


def environment(folder, kind, number, log):
    suppressions = os.path.join(folder, "suppressions")
    with open(suppressions, "w") as file:
        file.write(SUPPRESSED)
    options = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    return dict(os.environ, LD_PRELOAD=INJECT, INJECT=f"{kind}:{number}", INJECT_LOG=log, ASAN_OPTIONS=options.lstrip(":"),
                LSAN_OPTIONS=f"suppressions={suppressions}:print_suppressions=0", LC_ALL="C.UTF-8")


class Attempt:
    """One run of bufscope with a fault. The log is there when the call was reached."""

    def __init__(self, folder, arguments, kind, number, interact=None):
        self.what = f"{kind} {number}"
        self.log, self.report_path = os.path.join(folder, "log"), os.path.join(folder, "report.json")
        for path in (self.log, self.report_path):
            if os.path.exists(path):
                os.unlink(path)
        with open(os.path.join(folder, "out"), "w+b") as out, open(os.path.join(folder, "err"), "w+b") as err:
            started = subprocess.Popen([harness.BUFSCOPE, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                       env=environment(folder, kind, number, self.log), start_new_session=True)
            try:
                if interact:
                    interact(started, os.path.join(folder, "err"))
                self.status = started.wait(harness.HANG_SECONDS)
            finally:
                if started.poll() is None:
                    os.killpg(started.pid, signal.SIGKILL)
                    started.wait()
            self.output = self.read(out)
            self.errors = self.read(err)
        self.group = started.pid
        assert self.status >= 0 and "Sanitizer" not in self.errors and "runtime error" not in self.errors, self

    @staticmethod
    def read(file):
        file.seek(0)
        return file.read().decode()

    def __repr__(self):
        return f"{self.what}: status {self.status}, errors:\n{self.errors}"

    def reached(self):
        """The numbers in the log: of the call that failed, or of those to be tried."""
        if not os.path.exists(self.log):
            return []
        with open(self.log) as file:
            return [int(line) for line in file]

    def said(self):
        return [line for line in self.errors.splitlines() if re.match(r"bufscope( run| attach)?: ", line)]

    def report(self):
        """None: it could not be written, which must have been said."""
        try:
            with open(self.report_path) as file:
                report = json.load(file)
        except ValueError:
            assert any(re.search("cannot write|no report", line) for line in self.said()), self
            return None
        jsonschema.validate(report, harness.schema_of(report["schema"]))
        # Figures that were given up need not add up.
        return harness.load_report(self.report_path) if report["exact"] else report

    def nothing_left(self):
        """The command ends with us or before us; what is left of it only has to be reaped."""
        try:
            os.killpg(self.group, 0)
        except ProcessLookupError:
            return True
        return False


def faults(attempt, kind, frames):
    """Attempts, one for each call or kind of stack, until nothing was left to fail."""
    numbers = itertools.count(1)
    if kind in frames and not EVERY:
        listed = attempt(kind, f"0:{frames[kind]}")
        assert listed.status == 0 and listed.reached(), listed
        numbers = listed.reached()
    for number in numbers:
        tried = attempt(kind, number)
        if tried.reached():
            yield tried
            continue
        # Beyond the last call. Another run may take a few less than the one that was counted.
        assert tried.status == 0 and number > 1, tried
        if isinstance(numbers, itertools.count):
            return


def summary(report):
    """What must be the same as without a fault, if it is called exact."""
    return sorted((process["allocated"], process["freed"], process["live"], process["held_released"])
                  for process in report["processes"] if process["runtimes"])


@pytest.mark.parametrize("kind", KINDS)
def test_run(kind, tmp_path):
    folder = str(tmp_path)
    command = ["run", "-q", "--format", "json", "-o", os.path.join(folder, "report.json"), "--events",
               os.path.join(folder, "events.ndjson"), "--", harness.DEMO]

    def attempt(kind, number):
        return Attempt(folder, command, kind, number)

    sound = attempt("none", 0)
    assert sound.status == 0 and sound.output and summary(sound.report()), sound
    expected = summary(sound.report())
    statuses = {0: 0, 125: 0}
    for tried in faults(attempt, kind, RUN_FRAMES):
        assert tried.status in statuses, tried
        statuses[tried.status] += 1
        if tried.status == 125:
            # The command was never started, and one line says why.
            assert not tried.output and len(tried.said()) == 1, tried
        else:
            assert tried.output == sound.output, tried
            report = tried.report()
            assert not report or not report["exact"] or summary(report) == expected, (tried, summary(report))
        assert tried.nothing_left(), tried
    assert sum(statuses.values()), "nothing was made to fail"


@pytest.mark.parametrize("kind", KINDS)
def test_attach(kind, tmp_path):
    """The process is attached to and then ends by itself; where bufscope fails it goes on all the same."""
    folder = str(tmp_path)
    workload = None

    def begin():
        started = harness.Program(harness.standin("mesh d 2\nalloc a d DRAM 65536 2048\nwait go\nfree a\nclose d", load=False),
                                  folder, "workload")
        started.ready("go")
        return started

    def interact(bufscope, errors):
        # Attached, or failed: either is the end of a wait without a fixed time.
        watch = harness.Watch(folder, harness.Watch.MODIFY)
        while bufscope.poll() is None and not re.search("attached; |waiting for one", read(errors)):
            watch.names(time.monotonic() + 0.05)
        watch.close()
        workload.go()

    def read(path):
        with open(path, errors="replace") as file:
            return file.read()

    def attempt(kind, number):
        nonlocal workload
        workload = begin()
        tried = Attempt(folder, ["attach", "--format", "json", "-o", os.path.join(folder, "report.json"), "-p",
                                 str(workload.pid)], kind, number, interact)
        assert workload.wait() == 0, tried
        return tried

    for tried in faults(attempt, kind, ATTACH_FRAMES):
        assert tried.status in (0, 1), tried
        if tried.status:
            assert tried.said(), tried
            continue
        report = tried.report()
        # The stand-in has no books: that its older buffer is not known must be said in any case.
        assert not report or not report["exact"], tried
