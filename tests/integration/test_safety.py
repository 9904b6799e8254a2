# SPDX-License-Identifier: BSD-2-Clause
"""
The traced program is never harmed: whenever bufscope dies, whoever else is at the same place, and
nobody waits while probes are taken out.
"""
import ctypes
import os
import random
import signal
import subprocess
import threading
import time

import pytest

import harness
from harness import Program, attach, process_of

KILLS = 200
PERF_KILLS = 5              # of them: a killed process stays until each of its probes is out, 0.1 s each
PR_SET_CHILD_SUBREAPER = 36


class Text:
    """The machine code of the stand-in library in a process, beside the file it came from."""

    def __init__(self, pid, library):
        self.pid = pid
        with open(f"/proc/{pid}/maps") as maps:
            fields = next(line.split() for line in maps if line.rstrip().endswith(library) and " r-xp " in line)
        self.start, end = [int(part, 16) for part in fields[0].split("-")]
        self.offset, self.size = int(fields[2], 16), end - self.start
        with open(library, "rb") as file:
            file.seek(self.offset)
            self.original = file.read(self.size)

    def breakpoints(self):
        """Offsets where the process has a breakpoint that the file has not; nothing else may differ."""
        with open(f"/proc/{self.pid}/mem", "rb") as memory:
            memory.seek(self.start)
            now = memory.read(len(self.original))
        different = [at for at, (is_, was) in enumerate(zip(now, self.original)) if is_ != was]
        assert all(now[at] == 0xcc for at in different), different
        return different

    def until_clean(self):
        """The kernel takes probes out a little after the last descriptor is closed."""
        deadline = time.monotonic() + harness.HANG_SECONDS
        while self.breakpoints():
            assert time.monotonic() < deadline, self.breakpoints()
            time.sleep(0.005)

    def write(self, at, data):
        """As a debugger does."""
        with open(f"/proc/{self.pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(self.start + at)
            memory.write(data)


# ---- killed at any moment ----

class Rounds(threading.Thread):
    """Lets a program that stops after every round go on, until it is told to stop."""

    def __init__(self, program):
        super().__init__(daemon=True)
        self.program = program
        self.enough = threading.Event()
        self.rounds = 0
        self.books = None
        self.start()

    def run(self):
        while not self.enough.is_set():
            self.books = self.program.ready("round")
            self.rounds += 1
            self.program.go()

    def stop(self):
        self.enough.set()
        self.join(harness.HANG_SECONDS)
        assert not self.is_alive()


def left_in_run():
    return {name for folder in ("/run", "/dev/shm", "/sys/fs/bpf") for name in os.listdir(folder) if "bufscope" in name}


def attached_seconds(program, folder, text):
    """How long it takes from the start to the first event; while it is attached the code must differ."""
    began = time.monotonic()
    bufscope = attach([program.pid], folder, name="first")
    seconds = time.monotonic() - began
    assert text.breakpoints(), "a test without its subject: nothing is probed"
    bufscope.popen.kill()
    bufscope.popen.wait()
    return seconds


def test_killed_at_any_moment(tmp_path):
    """
    bufscope is killed again and again between its start and some time after it has attached, while the
    program allocates, throws and catches in two threads. The program must neither fail nor keep a probe.
    """
    seed = int(os.environ.get("BUFSCOPE_TEST_SEED", random.randrange(1 << 32)))
    print(f"BUFSCOPE_TEST_SEED={seed}")
    dice = random.Random(seed)
    script = tmp_path / "script"
    script.write_text("load\nmesh m 2\nfill f m L1_SMALL 4096 4096\n" + 100000 * (
        "threads 2 churn 100 m DRAM 2048 2048\nalloc-oom m L1_SMALL 4096 4096\nwait round\n"))
    before = left_in_run()
    program = Program([harness.WORKLOAD, "--library", harness.library("pimpl"), "-f", str(script)], tmp_path)
    rounds = Rounds(program)
    while not rounds.rounds:
        time.sleep(0.01)
    text = Text(program.pid, harness.library("pimpl"))
    longest = 1.1 * attached_seconds(program, tmp_path, text)
    text.until_clean()
    seen = 0
    for i in range(KILLS):
        options = ["--perf-links"] if i % (KILLS // PERF_KILLS) == 0 else []
        killed = subprocess.Popen([harness.BUFSCOPE, "attach", "-q", *options, "-o", "/dev/null", "-p", str(program.pid)],
                                  stderr=subprocess.DEVNULL, cwd=tmp_path)
        try:
            killed.wait(dice.uniform(0, longest))
        except subprocess.TimeoutExpired:
            pass
        seen += bool(text.breakpoints())
        killed.kill()
        assert killed.wait() == -signal.SIGKILL, f"kill {i}"
        assert program.popen.poll() is None, f"kill {i}: the program ended: {program.popen.returncode}"
    assert 0 < seen < KILLS, f"{seen} of {KILLS} were killed while they had probes in place"
    text.until_clean()
    done = rounds.rounds
    while rounds.rounds < done + 2:             # it still works, unprobed
        assert program.popen.poll() is None
        time.sleep(0.01)
    rounds.stop()
    assert not program.stderr()
    assert left_in_run() == before


# ---- the end ----

STOPPER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <unistd.h>

/* Stops where bufscope forks the process that takes the probes out, and that process as well. */
pid_t fork(void)
{
	pid_t (*real)(void) = (pid_t (*)(void))dlsym(RTLD_NEXT, "fork"), pid;

	kill(getpid(), SIGSTOP);
	pid = real();
	if (pid == 0)
		kill(getpid(), SIGSTOP);
	return pid;
}
"""


@pytest.fixture
def stopper(tmp_path):
    (tmp_path / "stopper.c").write_text(STOPPER)
    library = tmp_path / "stopper.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "stopper.c", "-ldl"], check=True)
    return dict(os.environ, LD_PRELOAD=str(library))


def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return {int(word) for word in file.read().split()}


@pytest.fixture
def orphans_are_ours():
    """Processes whose parent has ended become this one's children."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = children()
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    for program in harness.Program.started:
        program.kill()
    for orphan in children() - before:          # only after a failure
        os.kill(orphan, signal.SIGKILL)
        os.waitpid(orphan, 0)


def test_nobody_waits_for_perf_links(tmp_path, stopper, orphans_are_ours):
    """
    Perf links are taken out one after the other. The report is complete before, and bufscope ends while
    a process of its own still holds them.
    """
    program = Program(harness.standin("load\nwait idle\nmesh m 2\nalloc a m DRAM 2048 2048\nbooks x\nwait x\nfree a\n"
                                      "wait y", load=False), tmp_path)
    program.ready("idle")
    text = Text(program.pid, harness.library("pimpl"))
    bufscope = attach([program.pid], tmp_path, options=["--perf-links"], env=stopper)
    program.go()
    books = program.ready("x")
    ours = children()
    os.kill(bufscope.pid, signal.SIGINT)
    # It is about to fork: everything was said, nothing was taken out yet.
    assert os.WIFSTOPPED(os.waitpid(bufscope.pid, os.WUNTRACED)[1])
    harness.assert_equals_books(process_of(bufscope.report(), program.pid), books)
    probes = text.breakpoints()
    assert probes
    os.kill(bufscope.pid, signal.SIGCONT)
    # Not wait(): the standard output is closed by whoever has it last.
    assert bufscope.popen.wait(harness.HANG_SECONDS) == 0
    detaching, = children() - ours - {bufscope.pid}
    assert os.WIFSTOPPED(os.waitpid(detaching, os.WUNTRACED)[1])
    assert text.breakpoints() == probes
    program.go()                                # it meets them, and goes on
    program.ready("y")
    os.kill(detaching, signal.SIGCONT)
    assert os.waitpid(detaching, 0)[1] == 0
    text.until_clean()
    program.go()
    assert program.wait() == 0


# ---- a debugger at the same place ----

def probed_places(folder, layout="pimpl"):
    """Where bufscope puts its probes into the code of the library."""
    program = Program(harness.standin("load\nwait idle", layout, load=False), folder, "probed")
    program.ready("idle")
    text = Text(program.pid, harness.library(layout))
    bufscope = attach([program.pid], folder, name="probing")
    places = text.breakpoints()
    os.kill(bufscope.pid, signal.SIGINT)
    assert bufscope.wait() == 0
    program.go()
    assert program.wait() == 0
    return places


def test_a_debuggers_breakpoint_comes_and_goes(tmp_path):
    """Set while the probes are there, it finds and leaves 0xcc: nothing is missed."""
    program = Program(harness.standin("load\nwait idle\nmesh m 2\nalloc a m DRAM 2048 2048\nwait x\nalloc b m DRAM 2048 2048\n"
                                      "free a\nbooks y\nwait y", load=False), tmp_path)
    program.ready("idle")
    text = Text(program.pid, harness.library("pimpl"))
    bufscope = attach([program.pid], tmp_path)
    places = text.breakpoints()
    assert places
    for at in places:
        text.write(at, b"\xcc")
    program.go()
    program.ready("x")
    for at in places:
        text.write(at, b"\xcc")             # what it had found there
    program.go()
    books = program.ready("y")
    process = process_of(bufscope.snapshot(), program.pid)
    harness.assert_equals_books(process, books)
    assert process["exact"], process["inexact_reasons"]
    program.go()
    assert program.wait() == 0
    bufscope.finish()


def test_a_debuggers_breakpoint_is_there_first(tmp_path):
    """0xcc in the code is somebody else's, and normal: the library is watched, and the program goes on."""
    places = probed_places(tmp_path)
    program = Program(harness.standin("load\nwait idle\nmesh m 2\nalloc a m DRAM 2048 2048\nbooks x\nwait x\nfree a\nbooks y\nwait y",
                                      load=False), tmp_path)
    program.ready("idle")
    text = Text(program.pid, harness.library("pimpl"))
    for at in places:
        text.write(at, b"\xcc")
    bufscope = attach([program.pid], tmp_path)
    program.go()
    books = program.ready("x")
    harness.assert_equals_books(process_of(bufscope.snapshot(), program.pid), books)
    for at in places:
        text.write(at, text.original[at:at + 1])    # the debugger takes them away, ours with them
    program.go()
    program.ready("y")
    process = process_of(bufscope.snapshot(), program.pid)
    assert not process["exact"]                     # and that is not passed over
    assert "its probes were taken away" in process["inexact_reasons"][0]["text"]
    program.go()
    assert program.wait() == 0
    bufscope.finish()
