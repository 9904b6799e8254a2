# SPDX-License-Identifier: BSD-2-Clause
"""Lives of processes and devices on the real, unmodified runtime: the lifecycle matrix of docs/testing.md."""
import json
import os

import pytest

import harness
from harness import counts, process_of
from test_ttnn import TTNN, exact, ttnn_setup


@pytest.fixture(params=("0.66.0", "0.81.1"))
def version(request):
    """One of each layout."""
    try:
        ttnn_setup.install(request.param)
    except ttnn_setup.Unavailable as reason:
        pytest.skip(str(reason))
    return request.param


def life(version, kind, folder, *scenario, **kwargs):
    python, env = ttnn_setup.environment(version, kind)
    return harness.run([python, os.path.join(TTNN, "life.py"), *map(str, scenario)], folder, env=env, **kwargs)


def at(bufscope, name):
    """At the stop the table equals the runtime's books; returns its process."""
    books = bufscope.ready(name)
    process = exact(bufscope.snapshot(), books["pid"])
    harness.assert_equals_runtime_books(process, books)
    bufscope.go()
    return process


def told(bufscope, mark):
    """What the program's processes said in lines that begin with @mark."""
    lines = bufscope.output.decode(errors="replace").splitlines()
    return [json.loads(line[len(mark):]) for line in lines if line.startswith(mark)]


def test_threads_free_what_others_allocated(version, tmp_path):
    bufscope = life(version, "n150", tmp_path, "exchange", 20)
    before, after = at(bufscope, "ready"), at(bufscope, "exchanged")
    assert after["allocated"] - before["allocated"] == 64 * 20
    assert after["freed"] - before["freed"] == 64 * 16
    at(bufscope, "empty")
    counts(exact(bufscope.finish(), after["pid"]), live=0, unknown_frees=0, double_frees=0, missed_frees=0)


def test_fork_without_exec(version, tmp_path):
    """The child's free of an inherited object is not its parent's, and its allocations are its own."""
    bufscope = life(version, "n150", tmp_path, "fork", 4)
    before, after = at(bufscope, "allocated"), at(bufscope, "joined")
    report = bufscope.finish()
    said, = told(bufscope, "@@child ")
    child = exact(report, said["pid"])
    counts(child, before_attach=0, allocated=2, freed=0, live=2, cleared=2, unknown_frees=1, double_frees=0)
    assert [free["verdict"] for free in child["unmatched_frees"]] == ["inherited"]
    assert sorted(buffer["address"] for buffer in child["buffers"]) == sorted(said["own"])
    assert child["parent"] == after["id"]
    counts(after, allocated=before["allocated"], freed=before["freed"] + 1, live=before["live"] - 1, unknown_frees=0)


@pytest.mark.parametrize("method", ("fork", "spawn"))
def test_pool_of_processes(version, method, tmp_path):
    bufscope = life(version, "n150", tmp_path, method + "_pool")
    at(bufscope, "imported")
    owner = at(bufscope, "joined")
    report = bufscope.finish()
    tasks = told(bufscope, "@@task ")
    assert len({task["pid"] for task in tasks} - {owner["pid"]}) == 3
    for task in tasks:
        process = exact(report, task["pid"])
        # The runtime allocates for itself too, so the program's count is the least.
        assert process["allocated"] >= task["allocated"] and process["freed"] >= task["freed"]
        counts(process, before_attach=0, unknown_frees=0, double_frees=0)
    counts(process_of(report, owner["pid"]), allocated=0, live=0)


def test_closed_reopened_closed(version, tmp_path):
    bufscope = life(version, "n150", tmp_path, "reopen", 6)
    seen = []
    for stop in ("first", "first-closed", "second", "second-closed", "gone"):
        process = at(bufscope, stop)
        seen.append((process["live"], process["held"]))
    assert seen == [(6, 0), (0, 6), (6, 6), (0, 12), (0, 0)]
    counts(exact(bufscope.finish(), process["pid"]), held_at_close=12, held_released=12, cleared=0, unknown_frees=0)


def test_submesh_goes_before_its_mesh(version, tmp_path):
    bufscope = life(version, "t3k", tmp_path, "submesh_first")
    seen = [(process["live"], process["held"]) for process in
            (at(bufscope, stop) for stop in ("both", "part-closed", "closed"))]
    assert seen == [(3, 0), (1, 1), (0, 0)]
    bufscope.finish()


def test_submesh_goes_after_its_mesh(version, tmp_path):
    bufscope = life(version, "t3k", tmp_path, "submesh_last")
    seen = [(process["live"], process["held"]) for process in
            (at(bufscope, stop) for stop in ("both", "mesh-closed", "empty"))]
    assert seen == [(3, 0), (2, 0), (0, 0)]
    bufscope.finish()


@pytest.mark.parametrize("kind, chips", (("n150", 1), ("t3k", 8)))
def test_out_of_memory_is_reported(version, kind, chips, tmp_path):
    """The program survives; what it asked for, what it held, and what the books said then is told."""
    events = tmp_path / "events.ndjson"
    bufscope = life(version, kind, tmp_path, "out_of_memory", 3, name="bufscope", options=["--events", str(events)])
    before = at(bufscope, "kept")
    books, = [row for row in before["allocators"] if row["type"] == "L1" and row["used_bytes"]
              and len(row["on_devices"]) == chips]
    held = sum(buffer["size_bytes"] for buffer in before["buffers"] if buffer["type"] == "L1")
    process = at(bufscope, "survived")
    assert b"@@failures 3" in bufscope.output
    assert process["out_of_memory"] == len(process["failed_allocations"]) == 3
    for failure in process["failed_allocations"]:
        assert (failure["type"], failure["size_bytes"]) == ("L1", 32768 * 32768 * 2)
        assert sorted(failure["on_devices"]) == list(range(chips))
        holder, = failure["holders"]
        assert holder == {"process": process["id"], "pid": process["pid"], "live_buffers": 2, "live_bytes": held}
        assert [failure[key] for key in ("capacity_bytes", "free_bytes", "largest_free_bytes")] == \
            [books[key] for key in ("capacity_bytes", "free_bytes", "largest_free_bytes")]
        assert before["census"]["time_ns"] == failure["books_ns"] < failure["time_ns"]
    bufscope.finish()
    with open(events) as file:
        lines = [json.loads(line) for line in file]
    assert [line["event"] for line in lines].count("oom") == 3


@pytest.mark.parametrize("number", ("0.60.1", "0.62.2", "0.64.5", "0.66.0", "0.78.0", "0.79.0", "0.81.1"))
def test_check_says_where_out_of_memory_is_seen(number):
    try:
        library = ttnn_setup.library(number)
    except ttnn_setup.Unavailable as reason:
        pytest.skip(str(reason))
    lines = harness.subprocess.run([harness.BUFSCOPE, "check", library], capture_output=True, text=True,
                                   check=True).stdout.splitlines()
    places = [line for line in lines if line.startswith("  ok out of memory: probe at 0x")]
    # From 0.64 on an allocator may depend on others, and fails in a second place.
    assert len(places) == (1 if number < "0.64" else 2), lines
