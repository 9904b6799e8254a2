# SPDX-License-Identifier: BSD-2-Clause
"""`bufscope attach`: programs that already run."""
import os
import signal
import subprocess

import pytest

import harness
from harness import Program, attach, counts, process_of, run_standin


def idle(script, layout="pimpl"):
    return harness.standin(script, layout, load=False)


def interrupt(bufscope):
    os.kill(bufscope.pid, signal.SIGINT)
    return bufscope.finish()


def test_from_the_beginning_of_use(tmp_path, layout):
    """Nothing was allocated before: that can be proven, so the report is exact."""
    program = Program(idle("load\nwait idle\nmesh m 8\nalloc a m DRAM 8192 2048\nalloc b m L1 4096 2048\nfree a\n"
                              "books x\nwait x", layout), tmp_path)
    program.ready("idle")
    bufscope = attach([program.pid], tmp_path)
    program.go()
    books = program.ready("x")
    harness.assert_equals_books(process_of(bufscope.snapshot(), program.pid), books)
    report = interrupt(bufscope)
    process = process_of(report, program.pid)
    harness.assert_equals_books(process, books)
    assert process["exact"], process["inexact_reasons"]
    assert process["end"]["how"] == "running"
    program.go()
    assert program.wait() == 0


def test_library_is_mapped_later(tmp_path, layout):
    program = Program(idle("wait idle\nload\nwait loaded\nmesh m 2\nalloc a m DRAM 8192 2048\nbooks x\nwait x", layout),
                      tmp_path)
    program.ready("idle")
    bufscope = attach([program.pid], tmp_path)
    program.go()
    program.ready("loaded")
    bufscope.observing(program.pid)
    program.go()
    books = program.ready("x")
    harness.assert_equals_books(process_of(bufscope.snapshot(), program.pid), books)
    program.go()
    assert program.wait() == 0
    counts(process_of(bufscope.finish(), program.pid), allocated=1, cleared=1)


def test_late(tmp_path, layout):
    """Older buffers: their frees are unknown, and the report says that it is not exact."""
    program = Program(idle("mesh m 2\nmany old 5 m DRAM 8192 2048\nwait old\nalloc new m L1 4096 2048\n"
                              "free old0\nfree old1\nwait new\nfree new", layout), tmp_path)
    program.ready("old")
    bufscope = attach([program.pid], tmp_path)
    program.go()
    program.ready("new")
    process = process_of(bufscope.snapshot(), program.pid)
    assert not process["exact"] and process["inexact_reasons"]
    counts(process, allocated=1, freed=0, live=1, unknown_frees=2)
    assert [free["verdict"] for free in process["unmatched_frees"]] == ["before-attach"] * 2
    program.go()
    assert program.wait() == 0
    counts(process_of(bufscope.finish(), program.pid), allocated=1, freed=1, live=0)


def test_ends_with_the_process(tmp_path):
    program = Program(idle("load\nwait idle\nmesh m 2\nalloc a m DRAM 8192 2048\nkill KILL"), tmp_path)
    program.ready("idle")
    bufscope = attach([program.pid], tmp_path)
    program.go()
    assert program.wait() == -signal.SIGKILL
    process = process_of(bufscope.finish(), program.pid)
    assert (process["end"]["how"], process["end"]["signal"]) == ("signal", signal.SIGKILL)
    counts(process, live=1, cleared=1)


def test_several_processes(tmp_path):
    programs = [Program(idle(f"load\nwait idle\nchip c {i}\nmany a {i + 1} c DRAM 2048 2048\nbooks x\nwait x",
                                harness.LAYOUTS[i % 2]), tmp_path, name=f"program{i}") for i in range(3)]
    for program in programs:
        program.ready("idle")
    bufscope = attach([program.pid for program in programs], tmp_path)
    for program in programs:
        program.go()
    books = [program.ready("x") for program in programs]
    report = bufscope.snapshot()
    for program, book in zip(programs, books):
        harness.assert_equals_books(process_of(report, program.pid), book)
    for program in programs:
        program.go()
        program.wait()
    assert len(bufscope.finish()["processes"]) == 3


def test_others_are_not_reported(tmp_path):
    """Probes are on the library's file; a process that nobody asked for must not appear."""
    wanted, other = [Program(idle("load\nwait idle\nchip c 0\nmany a 3 c DRAM 2048 2048\nbooks x\nwait x"), tmp_path,
                             name=name) for name in ("wanted", "other")]
    wanted.ready("idle"), other.ready("idle")
    bufscope = attach([wanted.pid], tmp_path)
    wanted.go(), other.go()
    books = wanted.ready("x")
    other.ready("x")
    process, = bufscope.snapshot()["processes"]
    harness.assert_equals_books(process, books)
    interrupt(bufscope)


def test_two_bufscopes_on_one_process(tmp_path):
    program = Program(idle("load\nwait idle\nmesh m 2\nalloc a m DRAM 2048 2048\nbooks x\nwait x"), tmp_path)
    program.ready("idle")
    both = [attach([program.pid], tmp_path, name=f"bufscope{i}") for i in range(2)]
    program.go()
    books = program.ready("x")
    for bufscope in both:
        harness.assert_equals_books(process_of(bufscope.snapshot(), program.pid), books)
    interrupt(both[0])
    program.go()
    assert program.wait() == 0
    counts(process_of(both[1].finish(), program.pid), allocated=1, cleared=1)


def test_start_is_the_same_however_it_was_found(tmp_path):
    """Seen by its fork or found in /proc: a process that two tools name is one."""
    bufscope = run_standin("fork\nchip c 0\nalloc b c DRAM 2048 2048\nbooks child\nwait child\nendfork\nwait-child", tmp_path)
    pid = bufscope.ready("child")["pid"]
    forked = process_of(bufscope.snapshot(), pid)
    assert forked["parent"]
    other = attach([pid], tmp_path, name="other")
    found = process_of(other.snapshot(), pid)
    assert (found["id"], found["start_ns"]) == (forked["id"], forked["start_ns"])
    interrupt(other)
    bufscope.go()
    bufscope.finish()


def test_by_name(tmp_path):
    link = tmp_path / "findme-bufscope"
    link.symlink_to(harness.WORKLOAD)
    command = idle("load\nwait idle\nmesh m 2\nalloc a m DRAM 2048 2048\nbooks x\nwait x")
    program = Program([str(link), *command[1:]], tmp_path)
    program.ready("idle")
    bufscope = harness.Bufscope(["attach", "--format", "json", "-o", str(tmp_path / "bufscope.json"), "--name",
                                 "findme-bufscope"], tmp_path)
    bufscope.wait_stderr(r"(?i)attached|watching|waiting")
    program.go()
    books = program.ready("x")
    harness.assert_equals_books(process_of(bufscope.snapshot(), program.pid), books)
    program.go()
    program.wait()


def test_held_when_attached_in_between(tmp_path, layout):
    program = Program(idle("load\nwait idle\nmesh m 2\nmany a 4 m DRAM 2048 2048\nwait open\nclose m\nbooks x\nwait x\n"
                              "drop-all\nbooks y\nwait y", layout), tmp_path)
    program.ready("idle")
    bufscope = attach([program.pid], tmp_path)
    program.go()
    program.ready("open")
    program.go()
    for stop in ("x", "y"):
        books = program.ready(stop)
        harness.assert_equals_books(process_of(bufscope.snapshot(), program.pid), books)
        program.go()
    counts(process_of(bufscope.finish(), program.pid), held_at_close=4, held_released=4)


def test_no_such_process(tmp_path):
    child = subprocess.Popen(["true"])
    child.wait()
    result = subprocess.run([harness.BUFSCOPE, "attach", "-p", str(child.pid)], capture_output=True, text=True,
                            timeout=harness.HANG_SECONDS)
    assert result.returncode == 1
    assert str(child.pid) in result.stderr and result.stderr.count("\n") == 1


def test_kernel_thread(tmp_path):
    with open("/proc/2/comm") as comm:
        if comm.read().strip() != "kthreadd":
            pytest.skip("no kernel threads in sight: a container with its own pid namespace")
    result = subprocess.run([harness.BUFSCOPE, "attach", "-p", "2"], capture_output=True, text=True,
                            timeout=harness.HANG_SECONDS)
    assert result.returncode == 1
    assert "kernel thread" in result.stderr
