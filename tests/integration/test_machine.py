# SPDX-License-Identifier: BSD-2-Clause
"""
`bufscope attach --all`: every process of the machine that uses a device. Others may use one meanwhile,
so each test looks at its own processes, and has a copy of the library that nobody else maps.
"""
import json
import os
import shutil
import signal
import subprocess

import pytest

import harness
from harness import Bufscope, Program, counts, process_of
from service import Connection, Server
from test_control import until
from test_namespaces import Containers, child_of, of_host

ALLOCATE = "mesh m 2\nmany a 3 m DRAM 2048 2048\nfree a0"


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "libstandin_tt_metal.so"
    shutil.copy(harness.library("pimpl"), path)
    return str(path)


def standin(script, library):
    return harness.standin(script, lib=library, load=False)


def watch_all(folder, options=(), name="bufscope", **kwargs):
    report = os.path.join(str(folder), name + ".json")
    bufscope = Bufscope(["attach", "--all", "--format", "json", "-o", report, *options], folder, name, **kwargs)
    bufscope.wait_stderr("watching all processes")
    return bufscope


def interrupt(bufscope):
    os.kill(bufscope.pid, signal.SIGINT)
    return bufscope.finish()


def allocates_and_is_seen(program, bufscope):
    """A watched program goes on to ALLOCATE, stops at "x", and ends."""
    program.go()
    books = program.ready("x")
    process = process_of(bufscope.snapshot(), program.pid)
    harness.assert_equals_books(process, books)
    counts(process, allocated=3, freed=1, missed_frees=0)
    assert process["exact"], process["inexact_reasons"]
    program.go()
    assert program.wait() == 0


def opener(folder, library, bufscope):
    """A process through which bufscope knows the library; who begins after this is seen from its start."""
    program = Program(standin("load\nwait loaded\nwait end", library), folder, "opener")
    program.ready("loaded")
    bufscope.observing(program.pid)
    return program


def test_started_before(tmp_path, library):
    """
    The stand-in has no books that a census could read, so what it holds already is not known, and that is
    said; from then on nothing is missed. (test_ttnn_machine.py has the same with the real runtime's books.)
    """
    program = Program(standin("mesh m 2\nmany old 5 m DRAM 2048 2048\nwait old\nmany new 3 m L1 4096 2048\nfree new0\n"
                              "wait new", library), tmp_path)
    program.ready("old")
    bufscope = watch_all(tmp_path)
    program.go()
    program.ready("new")
    process = process_of(bufscope.snapshot(), program.pid)
    counts(process, allocated=3, freed=1, live=2)
    assert [reason["reason"] for reason in process["inexact_reasons"]] == ["attached-late"]
    program.go()
    assert program.wait() == 0
    process = process_of(interrupt(bufscope), program.pid)
    assert process["end"]["how"] == "exit" and process["cleared"] == 2


def test_a_library_that_is_mapped_later(tmp_path, library):
    """Nobody had ever mapped that file; the record of its mapping tells."""
    program = Program(standin("wait idle\nload\nwait loaded\n" + ALLOCATE + "\nbooks x\nwait x", library), tmp_path)
    program.ready("idle")
    bufscope = watch_all(tmp_path)
    assert program.pid not in [process["pid"] for process in bufscope.snapshot()["processes"]]
    program.go()
    program.ready("loaded")
    bufscope.observing(program.pid)
    program.go()
    books = program.ready("x")
    process = process_of(bufscope.snapshot(), program.pid)
    harness.assert_equals_books(process, books)
    assert process["exact"], process["inexact_reasons"]
    program.go()
    assert program.wait() == 0


@pytest.mark.parametrize("stopped", (False, True), ids=("running", "stopped"))
def test_short_lived_by_the_hundred(tmp_path, library, stopped):
    """
    No process and no event of a library that is attached to is missed, however soon the process ends; also
    while bufscope does not get to run at all, and finds nothing of them in /proc when it does.
    """
    bufscope = watch_all(tmp_path, ["--buffers", "all"])
    opener(tmp_path, library, bufscope)
    if stopped:
        os.kill(bufscope.pid, signal.SIGSTOP)
    pids = {}
    for i in range(100):
        script = f"mesh m 2\nmany a {1 + i % 4} m DRAM 2048 2048\nfree a0"
        started = subprocess.Popen(standin(script, library), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        pids[started.pid] = 1 + i % 4
        assert started.wait(harness.HANG_SECONDS) == 0
    if stopped:
        os.kill(bufscope.pid, signal.SIGCONT)
    report = interrupt(bufscope)
    found = [process for process in report["processes"] if process["pid"] in pids]
    assert sorted(process["pid"] for process in found) == sorted(pids)
    for process in found:
        counts(process, before_attach=0, allocated=pids[process["pid"]], freed=1, cleared=pids[process["pid"]] - 1)
        assert process["exact"], process["inexact_reasons"]
        assert process["user"] == 0 and process["command"], process


def test_it_ends_while_it_is_found(tmp_path, library):
    """Between being found and being looked at it allocates and ends; that is known to the last buffer, and exact."""
    gate = harness.Gate(tmp_path)
    bufscope = watch_all(tmp_path, env=dict(gate.env, LATE_WAKE_AT="poll"))
    opener(tmp_path, library, bufscope)
    with gate.stopped():
        program = Program(standin("load\nwait loaded\n" + ALLOCATE, library), tmp_path)
        program.ready("loaded")
    program.go()
    assert program.wait() == 0
    gate.unlock()
    process = process_of(interrupt(bufscope), program.pid)
    counts(process, before_attach=0, allocated=3, freed=1, cleared=2)
    assert process["exact"], process["inexact_reasons"]
    assert process["end"]["how"] == "exit" and len(process["runtimes"]) == 1


def test_fork_and_exec(tmp_path, library):
    """A child's table is its own, and exec ends one; both of a program that was found by itself."""
    bufscope = watch_all(tmp_path)
    opener(tmp_path, library, bufscope)
    program = Program(standin("mesh m 2\nalloc a m DRAM 2048 2048\nfork\nalloc b m DRAM 2048 2048\nalloc c m DRAM 2048 2048\n"
                              "endfork\nwait-child\nexec self mesh m 2 | alloc d m L1 4096 2048 | books x | wait x", library),
                      tmp_path)
    books = program.ready("x")
    report = bufscope.snapshot()
    last = process_of(report, program.pid)
    harness.assert_equals_books(last, books)
    assert last["exact"] and last["exec_count"] == 1, last
    first = next(p for p in report["processes"] if p["pid"] == program.pid and p["exec_count"] == 0)
    counts(first, allocated=1, cleared=1)
    child = next(p for p in report["processes"] if p["parent"] == first["id"] and p["pid"] != program.pid)
    counts(child, allocated=2, cleared=2)
    assert first["exact"] and child["exact"]
    program.go()
    assert program.wait() == 0


def test_containers_of_one_image(tmp_path):
    """Two overlays of one file, the second started later: no event is missed, and none comes twice."""
    containers = Containers(tmp_path)
    script = "load\nwait idle\n" + ALLOCATE + "\nbooks x\nwait x"
    first = containers.program(0, script)
    first.ready("idle")
    bufscope = watch_all(tmp_path)
    second = containers.program(1, script)
    second.ready("idle")
    programs = [(program, child_of(program.pid)) for program in (first, second)]
    for program, pid in programs:
        bufscope.observing(pid)
        program.go()
        books = program.ready("x")
        process = process_of(bufscope.snapshot(), pid)
        harness.assert_equals_books(process, of_host(books, pid))
        counts(process, allocated=3, freed=1)
        assert process["exact"], process["inexact_reasons"]
        assert len(process["runtimes"]) == 1
    for program, _ in programs:
        program.go()
        program.wait()


def test_another_mount_namespace(tmp_path, library):
    """A copy below a path that only that process has."""
    private = tmp_path / "private"
    private.mkdir()
    bufscope = watch_all(tmp_path)
    command = standin("load\nwait loaded\n" + ALLOCATE + "\nbooks x\nwait x", str(private / "libprivate.so"))
    program = Program(["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$1" && cp "$2" "$1/libprivate.so" && '
                       'shift 2 && exec "$@"', "sh", str(private), library, *command], tmp_path)
    program.ready("loaded")
    assert not os.listdir(private)
    bufscope.observing(program.pid)
    program.go()
    books = program.ready("x")
    process = process_of(bufscope.snapshot(), program.pid)
    harness.assert_equals_books(process, books)
    assert process["exact"], process["inexact_reasons"]
    program.go()
    assert program.wait() == 0


def test_a_file_that_is_changed_from_outside(tmp_path, library):
    """Mode, names and owner are the inode's as well: who maps the file after that maps what is attached to already."""
    bufscope = watch_all(tmp_path)
    opener(tmp_path, library, bufscope)
    for i, change in enumerate((lambda: os.chmod(library, 0o700), lambda: os.link(library, library + ".link"),
                                lambda: os.rename(library, library + ".new"))):
        change()
        path = library if os.path.exists(library) else library + ".new"
        program = Program(standin("load\nwait loaded\n" + ALLOCATE + "\nbooks x\nwait x", path), tmp_path, f"program{i}")
        program.ready("loaded")
        bufscope.observing(program.pid)
        allocates_and_is_seen(program, bufscope)


def probed(pid, library):
    """The offsets at which the library's code in memory is not what is in the file."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
        fields = next(line.split() for line in maps if line.rstrip().endswith(library) and " r-xp " in line)
    start, end = (int(address, 16) for address in fields[0].split("-"))
    with open(f"/proc/{pid}/mem", "rb") as memory, open(library, "rb") as file:
        memory.seek(start)
        file.seek(int(fields[2], 16))
        return [i for i, (a, b) in enumerate(zip(memory.read(end - start), file.read(end - start))) if a != b]


def test_overwritten_in_place(tmp_path, library):
    """Probes at places of the old contents would break the code of who maps the new ones."""
    bufscope = watch_all(tmp_path)
    old = opener(tmp_path, library, bufscope)
    threads = len(os.listdir(f"/proc/{bufscope.pid}/task"))
    with open(harness.library("plain"), "rb") as source, open(library, "r+b") as target:
        target.truncate(0)
        shutil.copyfileobj(source, target)
    bufscope.wait_stderr("was overwritten in place")
    process = process_of(bufscope.snapshot(), old.pid)
    assert [reason["reason"] for reason in process["inexact_reasons"]] == ["unsupported-library"]
    # A thread of its own takes the old probes away.
    until(lambda: len(os.listdir(f"/proc/{bufscope.pid}/task")) <= threads, "the old probes did not go")
    # The same contents in a file of their own, for comparison.
    fresh = shutil.copy(harness.library("plain"), tmp_path / "fresh.so")
    places = []
    for i, path in enumerate((str(fresh), library)):
        program = Program(standin("load\nwait loaded\n" + ALLOCATE + "\nbooks x\nwait x", path), tmp_path, f"program{i}")
        program.ready("loaded")
        bufscope.observing(program.pid)
        places.append(probed(program.pid, path))
        allocates_and_is_seen(program, bufscope)
    assert places[0] and places[0] == places[1]
    # Its code is no more.
    os.kill(old.pid, signal.SIGKILL)
    assert old.wait() == -signal.SIGKILL


MAP = ("import mmap, os, sys; m = mmap.mmap(os.open(sys.argv[1], 0), 0, prot=5, flags=2); "
       "print('ready mapped', flush=True); input()")


@pytest.fixture
def unsupported(tmp_path):
    """A library in which something that is needed has another name."""
    with open(harness.library("pimpl"), "rb") as file:
        image = file.read()
    wrong = image.replace(b"\0_ZN2tt8tt_metal12GraphTracker14track_allocateE", b"\0_ZN2tt8tt_metal12GraphTracker14track_allocXteE")
    assert wrong != image
    path = tmp_path / "libunsupported.so"
    path.write_bytes(wrong)
    return str(path)


def mappers(folder, path, watcher):
    """Three processes that map a file, one after the other, the first of which was told of."""
    for i in range(3):
        program = Program(["/usr/bin/python3", "-c", MAP, path], folder, f"mapper{i}")
        program.ready("mapped")
        watcher.wait_stderr("libunsupported.so.* is not supported")
        yield program


def said_once(watcher):
    said = [line for line in watcher.stderr().splitlines() if "libunsupported.so" in line]
    assert len(said) == 1 and "GraphTracker::track_allocate" in said[0], said


def test_an_unsupported_copy_is_told_of_once(tmp_path, unsupported):
    bufscope = watch_all(tmp_path)
    programs = list(mappers(tmp_path, unsupported, bufscope))
    report = interrupt(bufscope)
    said_once(bufscope)
    assert process_of(report, programs[0].pid)["inexact_reasons"]


def test_the_service_tells_of_it_once(tmp_path, unsupported):
    """Its log has a line for the file, its answers the reason for each process that maps it."""
    server = Server(tmp_path)
    for program in mappers(tmp_path, unsupported, server):
        reason, = process_of(server.dump("-p", program.pid), program.pid)["inexact_reasons"]
        assert reason["reason"] == "unsupported-library" and "GraphTracker::track_allocate" in reason["text"]
    said_once(server)
    server.stop()


def identity(pid):
    """How the id of a process begins in reports: a pid alone may be in use again, by somebody else's program."""
    with open(f"/proc/{pid}/stat") as file:
        ticks = int(file.read().rsplit(")", 1)[1].split()[19])
    return f"{pid}.{ticks * (10 ** 9 // os.sysconf('SC_CLK_TCK'))}."


def test_nothing_of_others(tmp_path, library):
    """Who does not map the runtime causes no event, though bufscope sees its files being mapped."""
    bufscope = watch_all(tmp_path, ["--events", str(tmp_path / "events.ndjson")])
    opener(tmp_path, library, bufscope)
    others = []
    for i in range(20):
        other = Program(["/bin/sh", "-c", "echo ready up; read line; /bin/true; /bin/true"], tmp_path, f"other{i}")
        other.ready("up")
        others.append(identity(other.pid))
        other.go()
        assert other.wait() == 0
    user = Program(standin(ALLOCATE + "\nwait x", library), tmp_path, "user")
    user.ready("x")
    us = identity(user.pid)
    user.go()
    assert user.wait() == 0
    os.kill(bufscope.pid, signal.SIGINT)
    status = bufscope.wait()
    # The stream is of the whole machine: somebody else's program may be too fast for it.
    dropped = "event lines were dropped" in bufscope.stderr()
    assert status == int(dropped), bufscope.stderr()
    report = bufscope.report()
    counts(process_of(report, user.pid), allocated=3)
    reported = [process["id"] for process in report["processes"]]
    with open(tmp_path / "events.ndjson") as file:
        told = {event.get("process") or "" for event in map(json.loads, file)}
    assert any(name.startswith(us) for name in reported)
    assert dropped or any(name.startswith(us) for name in told)
    assert not [name for name in (*reported, *told) if name.startswith(tuple(others))]


def test_beside_another_bufscope(tmp_path, library):
    """A program that someone runs under bufscope is seen by both, once each."""
    bufscope = watch_all(tmp_path)
    opener(tmp_path, library, bufscope)
    run = harness.run(standin("load\nwait loaded\n" + ALLOCATE + "\nbooks x\nwait x", library), tmp_path, name="run")
    run.ready("loaded")
    pid = child_of(run.pid)
    run.observing(pid)
    run.go()
    books = run.ready("x")
    for watcher in (run, bufscope):
        process = process_of(watcher.snapshot(), pid)
        harness.assert_equals_books(process, books)
        counts(process, allocated=3, freed=1)
        assert process["exact"], process["inexact_reasons"]
    run.go()
    run.finish()
    counts(process_of(interrupt(bufscope), pid), allocated=3, freed=1, cleared=2)


class LateServer(Server):
    """
    A service that does not get to run when the test says so, and then sees all that came meanwhile at once
    (tests/late_wake.c), with one connection that is there already.
    """

    def __init__(self, folder, options=()):
        self.gate = harness.Gate(folder)
        super().__init__(folder, options, env=self.gate.env)
        self.connection = Connection(self.socket)
        self.connection.request("dump")
        assert self.connection.answer()[0]["exit"] == 0

    def answer_after(self, happen):
        """
        What is known of a process when @happen, which returns its pid, and a request come before the service
        runs: all that was there at the time of the request is in the answer.
        """
        self.gate.lock()
        pid = happen()
        self.connection.request("dump", format="json", pids=[pid])
        self.gate.unlock()
        end, text = self.connection.answer()
        assert end["exit"] == 0, end
        return process_of(json.loads(text), pid)

    def stop(self):
        self.connection.close()
        super().stop()


def test_an_answer_has_what_was_just_mapped(tmp_path, library):
    """A process that maps a library nobody ever mapped, and then asks."""
    server = LateServer(tmp_path)
    program = Program(standin("load\nwait loaded\n" + ALLOCATE + "\nbooks x\nwait x", library), tmp_path)
    books = None

    def load():
        program.ready("loaded")
        return program.pid

    def allocate():
        nonlocal books
        program.go()
        books = program.ready("x")
        return program.pid

    process = server.answer_after(load)
    assert process["runtimes"][0]["library"] == library
    assert process["exact"], process["inexact_reasons"]
    process = server.answer_after(allocate)
    harness.assert_equals_books(process, books)
    counts(process, before_attach=0, allocated=3, freed=1)
    assert process["exact"], process["inexact_reasons"]
    server.stop()


def test_an_answer_when_mappings_were_lost(tmp_path, library):
    """The kernel had no room for the record of that mapping: then all processes are looked at, before the answer."""
    server = LateServer(tmp_path, ["--verbose"])
    cpus = os.sched_getaffinity(0)

    def load():
        os.sched_setaffinity(0, {min(cpus)})    # each CPU has a buffer of its own
        try:
            subprocess.run(["/bin/sh", "-c", "i=0; while [ $i -lt 400 ]; do /bin/true; i=$((i + 1)); done"], check=True)
            program = Program(standin("load\nwait loaded", library), tmp_path)
            program.ready("loaded")
        finally:
            os.sched_setaffinity(0, cpus)
        return program.pid

    process = server.answer_after(load)
    assert process["runtimes"][0]["library"] == library
    assert process["exact"], process["inexact_reasons"]
    assert "records of new mappings were dropped" in server.stderr()
    server.stop()
