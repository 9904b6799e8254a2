# SPDX-License-Identifier: BSD-2-Clause
"""
Process ids that are used again, containers, and others who trace at the same place. Each program is
kept apart, each buffer is counted once, and whoever stops first disturbs nobody.
"""
import json
import os
import signal
import sys
import time

import pytest

import harness
from harness import Program, attach, counts, process_of

TRACK_ALLOCATE = "_ZN2tt8tt_metal12GraphTracker14track_allocateEPKNS0_6BufferE"


def interrupt(program):
    os.kill(program.pid, signal.SIGINT)


def child_of(pid):
    """The one child of a program that waits for it."""
    deadline = time.monotonic() + harness.HANG_SECONDS
    while True:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = [int(word) for word in file.read().split()]
        if children:
            return children[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ---- one process id, two processes ----

SAME_PID = """
import ctypes, os, struct, sys, time

def next_tick():
    # Ids in reports have the start as /proc has it, in ticks: one process in each.
    tick = lambda: int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))
    now = tick()
    while tick() == now:
        pass

pids, commands = [int(word) for word in sys.argv[1].split(",")], [part.split("\\x1f") for part in sys.argv[2:]]
libc = ctypes.CDLL(None, use_errno=True)
wanted = (ctypes.c_int * len(pids))(*pids)
for command in commands:
    # struct clone_args: exit_signal is the fifth word, set_tid and its length the ninth and tenth
    words = [0] * 10
    words[4], words[8], words[9] = 17, ctypes.addressof(wanted), len(pids)
    arguments = ctypes.create_string_buffer(struct.pack("10Q", *words))
    next_tick()
    pid = libc.syscall(435, arguments, 80)
    if pid == 0:
        os.execv(command[0], command)
    if pid < 0:
        sys.exit(f"clone3: {os.strerror(ctypes.get_errno())}")
    os.waitpid(pid, 0)
"""


def free_pid():
    """One that nobody gets by counting up soon."""
    with open("/proc/sys/kernel/pid_max") as file:
        highest = int(file.read())
    with open("/proc/sys/kernel/ns_last_pid") as file:
        last = int(file.read())
    return next(pid for pid in range(highest - 7, 0, -1) if pid != last and not os.path.exists(f"/proc/{pid}"))


@pytest.mark.parametrize("inside", (False, True), ids=("initial", "pid-namespace"))
def test_a_pid_that_is_used_again_at_once(tmp_path, inside):
    """The second process gets the number of the first as soon as it is free, inside and outside."""
    pid = free_pid()
    commands = ["\x1f".join(harness.standin(script, load=False)) for script in (
        "load\nwait loaded", "mesh m 2\nmany a 3 m DRAM 2048 2048\nkill KILL", "mesh m 2\nalloc b m DRAM 4096 4096\nbooks x")]
    driver = [sys.executable, "-c", SAME_PID, f"77,{pid}" if inside else str(pid), *commands]
    program = harness.run([*(["unshare", "--pid", "--fork"] if inside else []), *driver], tmp_path,
                          options=["--buffers", "all"])
    program.ready("loaded")
    program.observing(pid)                      # who begins later is covered from the first instruction on
    program.go()
    books = json.loads(next(line for line in program_lines(program) if line.startswith("books "))[len("books "):])
    assert books["pid"] == (77 if inside else pid)
    first, second = sorted((process for process in program.report()["processes"] if process["allocated"]),
                           key=lambda process: process["start_ns"])
    assert first["pid"] == second["pid"] == pid and first["id"] != second["id"]
    counts(first, allocated=3, cleared=3)
    counts(second, allocated=1)
    assert (first["end"]["signal"], second["end"]["how"]) == (signal.SIGKILL, "exit")
    assert not {b["serial"] for b in first["buffers"]} & {b["serial"] for b in second["buffers"]}


def program_lines(program):
    """All that is left of its output."""
    lines = []
    while (line := program.line()) is not None:
        lines.append(line)
    assert program.wait() == 0, program.stderr()
    return lines


# ---- containers ----

SETUP = """
set -e
mount -t tmpfs none "$1"
cd "$1"
mkdir lower
cp --parents $(ldd "$2" "$3" | grep -o '/[^ :]*' | sort -u) lower
mkdir lower/proc lower/old
cp "$2" lower/workload
cp "$3" lower/libruntime.so
for i in 0 1; do
    mkdir upper$i work$i root$i
    mount -t overlay none -o "lowerdir=$1/lower,upperdir=$1/upper$i,workdir=$1/work$i" root$i
done
echo ready x
read line
"""


ENTER = """
cd "$1"
shift
pivot_root . old && exec "$@"
"""


class Containers:
    """Two containers of one image: user, pid and mount namespaces, each with an overlay as its root."""

    def __init__(self, folder):
        self.folder = folder
        self.mounts = folder / "mounts"
        self.mounts.mkdir()
        self.holder = Program(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SETUP, "sh", self.mounts,
                               harness.WORKLOAD, harness.library("pimpl")], folder, "containers")
        self.holder.ready("x")

    def command(self, number, script):
        root = self.mounts / f"root{number}"
        return ["nsenter", "--target", str(self.holder.pid), "--user", "--mount", "--preserve-credentials",
                "unshare", "--pid", "--fork", f"--mount-proc={root}/proc", "sh", "-c", ENTER, "sh", root,
                "/workload", "--library", "/libruntime.so", script]

    def program(self, number, script):
        return Program(self.command(number, script), self.folder, f"container{number}")


def of_host(books, pid):
    """The program's own account, with the process id that the host knows it by."""
    return dict(books, pid=pid)


@pytest.mark.parametrize("options", ((), ("--perf-links",)), ids=("multi", "perf-links"))
def test_two_containers_of_one_image(tmp_path, options):
    """
    The same file in two overlays has two device numbers and one inode: attached to through both, each
    event would come twice.
    """
    containers = Containers(tmp_path)
    programs = [containers.program(i, "load\nwait idle\nmesh m 2\nmany a %d m DRAM 2048 2048\nbooks x\nwait x\n"
                                      "free a0\nbooks y\nwait y" % (i + 2)) for i in range(2)]
    for program in programs:
        program.ready("idle")
    pids = [child_of(program.pid) for program in programs]
    bufscope = attach(pids, tmp_path, options=options)
    for stop in ("x", "y"):
        books = []
        for program in programs:
            program.go()
            books.append(program.ready(stop))
        report = bufscope.snapshot()
        for pid, book in zip(pids, books):
            assert book["pid"] == 1                     # as it is called inside
            process = process_of(report, pid)
            harness.assert_equals_books(process, of_host(book, pid))
            assert process["exact"], process["inexact_reasons"]
            runtime, = process["runtimes"]
            assert runtime["library"] == "/libruntime.so"   # as that process sees it
    for program in programs:
        program.go()
        program.wait()
    for i, pid in enumerate(pids):
        counts(process_of(bufscope.finish() if i == 0 else bufscope.report(), pid), allocated=i + 2, freed=1, live=i + 1)


def test_a_container_is_started_while_another_is_watched(tmp_path):
    """The second maps the file through its own overlay, when the first one's is already attached to."""
    containers = Containers(tmp_path)
    script = "load\nwait idle\nmesh m 2\nmany a 4 m DRAM 2048 2048\nbooks x\nwait x"
    first = containers.program(0, script)
    first.ready("idle")
    bufscope = attach([child_of(first.pid)], tmp_path)
    second = harness.run(containers.command(1, script), tmp_path, name="second")
    second.ready("idle")
    inner = child_of(child_of(second.pid))
    second.observing(inner)
    first.go()
    second.go()
    for program, watcher, pid in ((first, bufscope, child_of(first.pid)), (second, second, inner)):
        books = program.ready("x")
        process = process_of(watcher.snapshot(), pid)
        harness.assert_equals_books(process, of_host(books, pid))
        assert process["exact"], process["inexact_reasons"]
    interrupt(bufscope)
    assert bufscope.wait() == 0
    second.go()
    second.finish()


# ---- others at the same place ----

@pytest.mark.parametrize("links", (("", "--perf-links"), ("--perf-links", "")), ids=("multi-first", "perf-first"))
def test_two_bufscopes_and_the_first_one_stops(tmp_path, links):
    program = Program(harness.standin("load\nwait idle\nmesh m 2\nmany a 5 m DRAM 2048 2048\nbooks x\nwait x\n"
                                      "many b 7 m DRAM 2048 2048\nfree a0\nbooks y\nwait y", load=False), tmp_path)
    program.ready("idle")
    first, second = [attach([program.pid], tmp_path, name=f"bufscope{i}", options=[option] if option else [])
                     for i, option in enumerate(links)]
    program.go()
    books = program.ready("x")
    for bufscope in (first, second):
        harness.assert_equals_books(process_of(bufscope.snapshot(), program.pid), books)
    interrupt(first)
    assert process_of(first.finish(), program.pid)["exact"]
    program.go()
    books = program.ready("y")
    process = process_of(second.snapshot(), program.pid)
    harness.assert_equals_books(process, books)
    assert process["exact"], process["inexact_reasons"]
    counts(process, allocated=12, freed=1)
    program.go()
    program.wait()
    second.finish()


@pytest.mark.parametrize("stops", ("bufscope", "bpftrace"))
def test_beside_bpftrace(tmp_path, stops):
    """Both count the same function; one of them ends, and the other misses nothing."""
    program = Program(harness.standin("load\nwait idle\nmesh m 2\nmany a 5 m DRAM 2048 2048\nbooks x\nwait x\n"
                                      "many b 7 m DRAM 2048 2048\nbooks y\nwait y", load=False), tmp_path)
    program.ready("idle")
    # What it prints comes out when all its probes are in place.
    other = Program(["bpftrace", "-e", f"uprobe:{harness.library('pimpl')}:{TRACK_ALLOCATE} /pid == {program.pid}/ "
                     "{ @hits = count(); } interval:ms:10 { printf(\"ready attached\\n\"); }"], tmp_path, "bpftrace")
    other.ready("attached")
    bufscope = attach([program.pid], tmp_path)
    program.go()
    books = program.ready("x")
    harness.assert_equals_books(process_of(bufscope.snapshot(), program.pid), books)
    hits = None
    if stops == "bufscope":
        interrupt(bufscope)
        bufscope.finish()
    else:
        interrupt(other)
        hits = program_lines(other)
    program.go()
    books = program.ready("y")
    if stops == "bpftrace":
        process = process_of(bufscope.snapshot(), program.pid)
        harness.assert_equals_books(process, books)
        assert process["exact"], process["inexact_reasons"]
        counts(process, allocated=12)
    else:
        interrupt(other)
        hits = program_lines(other)
    assert f"@hits: {5 if stops == 'bpftrace' else 12}" in hits
    program.go()
    program.wait()
    if stops == "bpftrace":
        bufscope.finish()
