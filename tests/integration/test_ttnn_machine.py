# SPDX-License-Identifier: BSD-2-Clause
"""
The service and the real, unmodified runtime: what was there before the service is in its answers, a
restart of the service loses none of it, and others may watch the same process meanwhile.
"""
import contextlib
import os
import re
import signal
import socket
import time

import pytest

import harness
from harness import Program, counts, process_of
from service import Server
from test_late import assert_books_are_told
from test_machine import LateServer
from test_top import size
from test_ttnn import exact, real, ttnn_setup

VERSION = "0.81.1"


@pytest.fixture(scope="module", autouse=True)
def installed():
    try:
        ttnn_setup.install(VERSION)
    except ttnn_setup.Unavailable as reason:
        pytest.skip(str(reason))


def start(folder, *scenario, kind="t3k"):
    command, env = real(VERSION, kind, *scenario)
    return Program(command, folder, env=env)


def asked(server, books):
    """The service's answer, which must be the runtime's own books."""
    process = exact(server.dump("-p", books["pid"]), books["pid"])
    harness.assert_equals_runtime_books(process, books)
    return process


def live(process):
    return sorted((b["object"], b["type"], b["address"], b["size_bytes"], b["on_devices"]) for b in process["buffers"])


@pytest.mark.parametrize("kind", ("n150", "t3k"))
def test_restart_keeps_the_live_set(kind, tmp_path):
    """A program with buffers of every type is there before the service, and stays when that is started anew."""
    program = start(tmp_path, "points", 500, kind=kind)
    books = program.ready("point-0")
    first = Server(tmp_path, name="first")
    before = asked(first, books)
    counts(before, allocated=0, freed=0, before_attach=before["live"])
    assert {buffer["type"] for buffer in before["buffers"]} == {"DRAM", "L1", "L1_SMALL", "TRACE"}
    program.go()
    books = program.ready("point-1")
    between = asked(first, books)
    assert between["allocated"] + between["freed"] == 500
    first.stop()
    second = Server(tmp_path, name="second")
    after = asked(second, books)
    assert live(after) == live(between)
    counts(after, allocated=0, freed=0, before_attach=after["live"])
    program.go()
    books = program.ready("point-2")
    after = asked(second, books)
    counts(after, unknown_frees=0, double_frees=0, missed_frees=0)
    assert after["allocated"] + after["freed"] == 500
    second.stop()


def test_killed_service(tmp_path):
    """The same when it had no time to end; what the program did meanwhile nobody saw."""
    program = start(tmp_path, "hold", 12)
    program.ready("holding")
    first = Server(tmp_path, name="first")
    first.popen.send_signal(signal.SIGKILL)
    first.wait()
    program.go()
    books = program.ready("half")
    second = Server(tmp_path, name="second", path=first.socket)
    counts(asked(second, books), before_attach=6, live=6)
    program.go()
    program.ready("none")
    counts(exact(second.dump("-p", program.pid), program.pid), freed=6, live=0, unknown_frees=0)
    second.stop()


def test_beside_a_run(tmp_path):
    """Somebody runs the program under bufscope on a machine that is watched; both are right."""
    server = Server(tmp_path)
    command, env = real(VERSION, "t3k", "hold", 12)
    run = harness.run(command, tmp_path, env=env)
    for stop, number in (("holding", 12), ("half", 6), ("none", 0)):
        books = run.ready(stop)
        both = asked(server, books), exact(run.snapshot(), books["pid"])
        harness.assert_equals_runtime_books(both[1], books)
        assert live(both[0]) == live(both[1])
        for process in both:
            assert process["live"] == number
        run.go()
    counts(exact(run.finish(), books["pid"]), live=0, unknown_frees=0, missed_frees=0)
    server.stop()


def test_beside_an_attach(tmp_path):
    """Somebody attaches, and goes again, while the service watches."""
    program = start(tmp_path, "hold", 12)
    books = program.ready("holding")
    server = Server(tmp_path)
    attached = harness.attach([program.pid], tmp_path, name="attach")
    both = asked(server, books), exact(attached.snapshot(), program.pid)
    harness.assert_equals_runtime_books(both[1], books)
    assert_books_are_told(both[1])
    assert live(both[0]) == live(both[1])
    program.go()
    books = program.ready("half")
    for process in (asked(server, books), exact(attached.snapshot(), program.pid)):
        harness.assert_equals_runtime_books(process, books)
        counts(process, before_attach=12, freed=6, live=6, unknown_frees=0)
    os.kill(attached.pid, signal.SIGINT)
    attached.finish()
    program.go()
    program.ready("none")
    counts(exact(server.dump("-p", program.pid), program.pid), before_attach=12, freed=12, live=0, unknown_frees=0)
    server.stop()


def test_an_answer_has_what_was_just_allocated(tmp_path):
    """A runtime that the service has never seen, mapped and used since it last ran: its census is in the answer."""
    server = LateServer(tmp_path)
    books = None

    def allocate():
        nonlocal books
        program = start(tmp_path, "hold", 12)
        books = program.ready("holding")
        return program.pid

    process = server.answer_after(allocate)
    harness.assert_equals_runtime_books(process, books)
    counts(process, before_attach=12, live=12)
    assert process["exact"], process["inexact_reasons"]
    server.stop()


def test_top_shows_the_books(tmp_path):
    """How full a device is on the screen: what its allocators' books say is used, and of how much."""
    program = start(tmp_path, "hold", 12)
    books = program.ready("holding")
    server = Server(tmp_path)
    process = asked(server, books)
    lines = server.ask("top", "--once", "-p", program.pid).split("\n")
    for chip in range(8):
        allocator, = (a for a in process["allocators"]
                      if a["type"] == "DRAM" and chip in a["on_devices"] and a["used_bytes"])
        used, of_all = size(allocator["used_bytes"]), size(allocator["capacity_bytes"])
        row, = (line for line in lines if line.startswith(f"  {chip} of {program.pid} "))
        figure = f"{used.removesuffix(of_all[-3:])}/{of_all}"
        assert re.search(rf"  \[\|[| ]+\] <?\d+% {re.escape(figure)} ", row), (row, figure)
    server.stop()


def read_since(server, books, since_ns):
    """The service's answer once it has read the process's books after @since_ns."""
    deadline = time.monotonic() + harness.HANG_SECONDS
    while True:
        process = exact(server.dump("-p", books["pid"]), books["pid"])
        if process["census"] and process["census"]["time_ns"] > since_ns:
            return process
        assert time.monotonic() < deadline, (process["census"], server.stderr())
        time.sleep(0.1)


def test_books_of_a_program_that_came_later(tmp_path):
    """
    How full a device is, and what a buffer really takes, is known of programs that began after the service
    too: their books are read once they have allocated, and again after they have changed.
    """
    server = Server(tmp_path)
    program = start(tmp_path, "points", 500)
    for point in range(2):
        books = program.ready(f"point-{point}")
        process = read_since(server, books, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        harness.assert_equals_runtime_books(process, books)
        assert process["allocators"] and {entry["books"] for entry in process["allocators"]} == {"equal"}
        assert all(buffer["footprint_bytes"] for buffer in process["buffers"])
        if not point:
            counts(process, before_attach=0)
        program.go()
    server.stop()


def test_a_large_process_takes_nothing_from_others(tmp_path):
    """
    To look through its memory takes long; the records of a busy process, for a fraction of which there is room, are
    taken in meanwhile. (Some may be lost where the machine lets bufscope wait.)
    """
    program = start(tmp_path, "large", 3072, kind="n150")
    books = program.ready("holding")
    busy = Program(harness.standin("load\nwait loaded\nmesh m 2\necho ready go\nchurn 100000000 m DRAM 2048 2048", load=False),
                   tmp_path, "busy")
    busy.ready("loaded")
    busy.go()
    busy.ready("go")
    bufscope = harness.attach([busy.pid, program.pid], tmp_path, options=["--ring-size", "4M"])
    bufscope.wait_stderr("attached")
    busy.kill()
    report = bufscope.snapshot()
    harness.assert_equals_runtime_books(exact(report, program.pid), books)
    assert report["lost_records"] < process_of(report, busy.pid)["allocated"]


@contextlib.contextmanager
def looking(folder, options=()):
    """A service that goes through the memory of a large program, and its manager's socket."""
    path = str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(harness.HANG_SECONDS)
        server = Server(folder, options, wait=False, env=dict(os.environ, NOTIFY_SOCKET=path))
        assert re.fullmatch(r"EXTEND_TIMEOUT_USEC=\d+", manager.recv(4096).decode())
        yield server, manager
        server.stop()


def told_when_it_serves(manager):
    told = "EXTEND"
    while told.startswith("EXTEND"):
        told = manager.recv(4096).decode()
    return told


def test_signs_of_life_while_a_large_process_is_looked_at(tmp_path):
    """The service manager gives it time before it serves, and does not take it for hung."""
    program = start(tmp_path, "large", 256, kind="n150")
    books = program.ready("holding")
    with looking(tmp_path) as (server, manager):
        assert told_when_it_serves(manager) == "READY=1"
        asked(server, books)


def test_killed_while_it_is_looked_at(tmp_path):
    program = start(tmp_path, "large", 3072, kind="n150")
    program.ready("holding")
    with looking(tmp_path) as (server, manager):
        os.kill(program.pid, signal.SIGKILL)
        program.wait()
        assert told_when_it_serves(manager) == "READY=1"
        assert not [p for p in server.dump()["processes"] if p["pid"] == program.pid]


def test_ended_while_a_large_process_is_looked_at(tmp_path):
    """SIGTERM does not wait for the end of the look."""
    program = start(tmp_path, "large", 3072, kind="n150")
    program.ready("holding")
    with looking(tmp_path, ["-v"]) as (server, manager):
        pass
    assert f"no census of process {program.pid}" in server.stderr()
