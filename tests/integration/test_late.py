# SPDX-License-Identifier: BSD-2-Clause
"""
Attaching to a process of the real runtime that already runs: buffers older than the tracer are in
the table all the same, and table and books agree from there on.
"""
import json
import os
import re
import signal
import subprocess

import pytest

import harness
import test_census
from harness import BUFSCOPE, Program, attach, counts, process_of
from test_ttnn import exact, kind, real, ttnn_setup, version  # noqa: F401 (fixtures)


def start(version, kind, folder, *scenario):
    command, env = real(version, kind, *scenario)
    return Program(command, folder, env=env)


def interrupt(bufscope):
    os.kill(bufscope.pid, signal.SIGINT)
    return bufscope.finish()


def assert_books_are_told(process):
    """Every allocator with something in it is shown, equal to the table, and footprints add up to it."""
    used = [row for row in process["allocators"] if row["used_bytes"]]
    assert used
    for row in used:
        assert row["books"] == "equal", row
        footprints = [buffer["footprint_bytes"] for buffer in process["buffers"] if buffer["allocator"] == row["id"]]
        assert None not in footprints
        assert sum(footprints) == row["used_bytes"], row
        assert row["used_bytes"] + row["free_bytes"] == row["capacity_bytes"]


def test_older_buffers(version, kind, tmp_path):  # noqa: F811
    program = start(version, kind, tmp_path, "hold", 12)
    books = program.ready("holding")
    bufscope = attach([program.pid], tmp_path)
    process = exact(bufscope.snapshot(), program.pid)
    harness.assert_equals_runtime_books(process, books)
    assert_books_are_told(process)
    counts(process, before_attach=12, allocated=0, live=12)
    assert all(buffer["allocated_ns"] is None and buffer["thread"] is None for buffer in process["buffers"])
    program.go()
    books = program.ready("half")
    process = exact(bufscope.snapshot(), program.pid)
    harness.assert_equals_runtime_books(process, books)
    assert_books_are_told(process)
    counts(process, before_attach=12, freed=6, live=6, unknown_frees=0)
    program.go()
    program.ready("none")
    counts(exact(interrupt(bufscope), program.pid), before_attach=12, freed=12, live=0, unknown_frees=0)
    program.go()
    assert program.wait() == 0


def test_census_command(version, kind, tmp_path):  # noqa: F811
    program = start(version, kind, tmp_path, "basic")
    for stop in ("opened", "allocated", "computed", "traced", "some-freed", "all-freed"):
        books = program.ready(stop)
        done = subprocess.run([BUFSCOPE, "census", "-p", str(program.pid), "--format", "json"], capture_output=True,
                              text=True, timeout=harness.HANG_SECONDS)
        assert done.returncode == 0, done.stderr
        process = exact(json.loads(done.stdout), program.pid)
        harness.assert_equals_runtime_books(process, books)
        assert process["before_attach"] == process["live"] == len(process["buffers"])
        if process["live"]:
            assert_books_are_told(process)
        program.go()
    program.ready("closed")
    program.go()
    assert program.wait() == 0


def test_census_at_five_points_of_a_churning_program(version, kind, tmp_path):  # noqa: F811
    program = start(version, kind, tmp_path, "points", 2000)
    for point in range(5):
        books = program.ready(f"point-{point}")
        done = subprocess.run([BUFSCOPE, "census", "-p", str(program.pid), "--format", "json"], capture_output=True,
                              text=True, timeout=harness.HANG_SECONDS)
        assert done.returncode == 0, done.stderr
        process = exact(json.loads(done.stdout), program.pid)
        harness.assert_equals_runtime_books(process, books)
        assert_books_are_told(process)
        assert {buffer["type"] for buffer in process["buffers"]} == {"DRAM", "L1", "L1_SMALL", "TRACE"}
        # The footprints are the runtime's own figure: bytes per bank x banks, on each chip.
        mesh, = books["meshes"]
        for name, memory in mesh["types"].items():
            taken = sum(buffer["footprint_bytes"] for buffer in process["buffers"] if buffer["type"] == name)
            assert taken == memory["bytes_per_bank"] * memory["banks"], name
        program.go()
    assert program.wait() == 0


@pytest.mark.parametrize("operations", (100000,))
def test_verified_while_it_goes_on(version, kind, operations, tmp_path):  # noqa: F811
    """10^5 operations after the attachment, with table and books compared all the time."""
    program = start(version, kind, tmp_path, "steady", operations)
    program.ready("steady")
    bufscope = attach([program.pid], tmp_path, options=("--verify", "0.25"))
    program.go()
    books = program.ready("done")
    process = exact(bufscope.snapshot(), program.pid)
    harness.assert_equals_runtime_books(process, books)
    assert_books_are_told(process)
    assert process["before_attach"] == 60
    assert process["allocated"] + process["freed"] == operations
    program.go()
    program.ready("empty")
    report = interrupt(bufscope)
    process = exact(report, program.pid)
    counts(process, live=0, unknown_frees=0, missed_frees=0)
    said = re.search(r"compared (\d+) times: (\d+) times they differed", bufscope.stderr())
    assert int(said.group(1)) >= 3 and int(said.group(2)) == 0, bufscope.stderr()
    program.go()
    assert program.wait() == 0


def test_collector_is_killed_and_another_attaches(version, kind, tmp_path):  # noqa: F811
    program = start(version, kind, tmp_path, "hold", 10)
    books = program.ready("holding")
    first = attach([program.pid], tmp_path, name="first")
    before = exact(first.snapshot(), program.pid)
    first.popen.send_signal(signal.SIGKILL)
    first.wait()
    second = attach([program.pid], tmp_path, name="second")
    after = exact(second.snapshot(), program.pid)
    harness.assert_equals_runtime_books(after, books)

    def live(process):
        return sorted((b["object"], b["type"], b["address"], b["size_bytes"], b["on_devices"]) for b in process["buffers"])

    assert live(before) == live(after)
    interrupt(second)
    program.go()
    program.ready("half")
    program.go()
    program.ready("none")
    program.go()
    assert program.wait() == 0


def test_table_is_rebuilt_after_a_loss(version, tmp_path):  # noqa: F811
    """A ring that is far too small: what was lost is read out of the process's memory."""
    program = start(version, "n150", tmp_path, "steady", 20000)
    program.ready("steady")
    bufscope = attach([program.pid], tmp_path, options=("--ring-size", "4K"))
    program.go()
    books = program.ready("done")
    process = process_of(bufscope.snapshot(), program.pid)
    if not process["lost_records"] and not process["resynchronised"]:
        raise AssertionError("nothing was lost: the test is about nothing")
    assert process["resynchronised"], process["inexact_reasons"]
    assert process["exact"], process["inexact_reasons"]
    harness.assert_equals_runtime_books(process, books)
    assert_books_are_told(process)
    program.go()
    program.ready("empty")
    interrupt(bufscope)
    program.go()
    assert program.wait() == 0


@pytest.mark.parametrize("one_of_each_layout", ("0.66.0", "0.81.1"))
def test_stress(one_of_each_layout, tmp_path):
    """10^6 random operations in four threads, while censuses run all the time: no difference."""
    try:
        ttnn_setup.install(one_of_each_layout)
    except ttnn_setup.Unavailable as reason:
        pytest.skip(str(reason))
    operations = 1000000
    program = start(one_of_each_layout, "n150", tmp_path, "threads", operations)
    program.ready("ready")
    bufscope = attach([program.pid], tmp_path, options=("--verify", "0.1"))
    program.go()
    books = program.ready("done")
    process = exact(bufscope.snapshot(), program.pid)
    harness.assert_equals_runtime_books(process, books)
    assert_books_are_told(process)
    assert process["allocated"] + process["freed"] == operations
    program.go()
    program.ready("empty")
    counts(exact(interrupt(bufscope), program.pid), live=0, unknown_frees=0, missed_frees=0)
    said = re.search(r"compared (\d+) times: (\d+) times they differed", bufscope.stderr())
    assert int(said.group(1)) >= 3 and int(said.group(2)) == 0, bufscope.stderr()
    program.go()
    assert program.wait() == 0


def test_freeze(version, tmp_path):  # noqa: F811
    """A program that never stands still, stopped for the read: certain, and it goes on unharmed."""
    program = start(version, "n150", tmp_path, "threads", 200000)
    program.ready("ready")
    program.go()
    exact_ones = 0
    for _ in range(5):
        done = subprocess.run([BUFSCOPE, "census", "-p", str(program.pid), "--freeze", "--format", "json"],
                              capture_output=True, text=True, timeout=harness.HANG_SECONDS)
        assert done.returncode == 0, done.stderr
        assert re.search(r"was stopped for \d+\.\d ms", done.stderr)
        exact_ones += process_of(json.loads(done.stdout), program.pid)["exact"]
    # A thread may be stopped between the books' change and the object's: that is said, and rare.
    assert exact_ones >= 1
    program.ready("done")
    program.go()
    program.ready("empty")
    program.go()
    assert program.wait() == 0


def test_census_of_a_core(version, kind, tmp_path):  # noqa: F811
    """What did it hold when it crashed? The same as the census of the living one an instant before."""
    program = test_census.start(version, kind, tmp_path, "hold", core=True)
    books = program.ready("holding")

    def census(*arguments):
        done = subprocess.run([BUFSCOPE, "census", *arguments, "--format", "json"], capture_output=True, text=True,
                              timeout=harness.HANG_SECONDS)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        return exact(report, program.pid)

    live = census("-p", str(program.pid))
    core = test_census.core_of(program, tmp_path)
    dead = census("--core", core)
    os.unlink(core)
    harness.assert_equals_runtime_books(dead, books)
    assert dead["buffers"] == live["buffers"] and dead["allocators"] == live["allocators"]
    assert dead["end"] == {"how": "signal", "code": None, "signal": signal.SIGABRT, "core_dumped": True, "end_ns": None}
