# SPDX-License-Identifier: BSD-2-Clause
"""How buffers and devices end. Processes: test_process_life.py, libraries: test_library_life.py."""
import re

import harness
from harness import TextRun, counts, process_of, run, run_standin, standin


def last_report(script, folder, status=0, layout="pimpl", **kwargs):
    return run_standin(script, folder, layout, **kwargs).finish(status)


# --- devices ---

def test_close_with_live_buffers(books_test, layout):
    """What is alive when its device closes is held until the object goes."""
    process = books_test("""
        mesh m 8
        many a 10 m DRAM 8192 2048
        many b 5 m L1 131072 2048
        free a0
        books before
        wait before
        close m
        books closed
        wait closed
        drop a1
        drop b0
        books fewer
        wait fewer
        drop-all
        books gone
        wait gone
        drop-device m
        """, layout)
    counts(process, allocated=15, freed=1, held_at_close=14, held_released=14, live=0, held=0, cleared=0)


def test_held_at_the_end(books_test, layout):
    process = books_test("""
        chip c 3
        many a 4 c DRAM 8192 2048
        close c
        books closed
        wait closed
        drop a0
        """, layout)
    counts(process, allocated=4, freed=0, held_at_close=4, held_released=1, held=3, live=0, cleared=3)


def test_close_of_one_of_two_devices(books_test, layout):
    process = books_test("""
        mesh m 2
        chip c 5
        alloc a m DRAM 8192 2048
        alloc b c DRAM 8192 2048
        close m
        books one
        wait one
        free b
        drop a
        books both
        wait both
        """, layout)
    counts(process, allocated=2, freed=1, held_at_close=1, held_released=1)


def test_close_of_a_mesh_closes_its_submesh(books_test, layout):
    process = books_test("""
        mesh m 8
        submesh s m 0 4
        alloc a m DRAM 8192 2048
        alloc b s L1 8192 2048
        close m
        books closed
        wait closed
        drop b
        books dropped
        wait dropped
        """, layout)
    counts(process, allocated=2, held_at_close=2, held_released=1, held=1)


def test_close_of_a_submesh_leaves_the_mesh(books_test, layout):
    books_test("""
        mesh m 8
        submesh s m 0 4
        alloc a m DRAM 8192 2048
        alloc b s DRAM 8192 2048
        close s
        books closed
        wait closed
        free a
        books freed
        wait freed
        """, layout)


def test_close_that_frees_one_by_one(books_test, layout):
    process = books_test("""
        mesh m 2
        many a 6 m DRAM 8192 2048
        close m each
        books closed
        wait closed
        """, layout)
    counts(process, allocated=6, freed=6, held_at_close=0, live=0, held=0)


def test_device_is_opened_again_after_close(books_test, layout):
    """The second device may get the first one's address, and buffers the first ones'."""
    process = books_test("""
        mesh m 2
        many a 3 m DRAM 8192 2048
        close m
        books closed
        wait closed
        drop-device m
        drop-all
        mesh n 2
        many b 3 n L1 8192 2048
        books again
        wait again
        """, layout)
    counts(process, allocated=6, held_at_close=3, held_released=3, live=3)


def test_closed_opened_closed_again(books_test, layout):
    """What the first close left is still held after the second."""
    process = books_test("""
        mesh m 2
        many a 3 m DRAM 8192 2048
        close m
        books first
        wait first
        mesh n 2
        many b 2 n L1 8192 2048
        books again
        wait again
        close n
        books second
        wait second
        drop a0
        drop b0
        books fewer
        wait fewer
        """, layout)
    counts(process, allocated=5, freed=0, held_at_close=5, held_released=2, held=3, live=0)


def test_close_in_a_hurry(tmp_path, layout):
    """Close, drop and exit follow at once; what was released must not be reported as held."""
    report = last_report("mesh m 8\nmany a 200 m DRAM 8192 2048\nclose m\ndrop-all", tmp_path, layout=layout)
    process = harness.only_process(report)
    assert process["allocated"] == 200
    assert process["held_at_close"] == 200
    # The objects were destroyed before the program ended. Where bufscope could not see that in
    # time it must say "uncertain", never that they are held.
    assert {buffer["state"] for buffer in process["buffers"]} <= {"uncertain"}, (process["held"], process["held_released"])


def test_dropped_before_the_probe_is_there(tmp_path, layout):
    """Closed and dropped within microseconds: nobody saw the objects go, so they are looked for in memory."""
    bufscope = run_standin("mesh m 8\nmany a 200 m DRAM 8192 2048\nclose m\ndrop-all\nbooks x\nwait x", tmp_path,
                           layout=layout)
    books = bufscope.ready("x")
    process = harness.only_process(bufscope.snapshot())
    harness.assert_equals_books(process, books)
    counts(process, allocated=200, held_at_close=200, held_released=200, held=0, live=0)
    bufscope.go()
    bufscope.finish()


# --- out of memory ---

def test_out_of_memory_says_who_holds_what(tmp_path, layout):
    """Two processes on one chip; the failure names both, by what they held then."""
    bufscope = run_standin("""
        chip c 3
        alloc a c L1 131072 2048
        fork
        chip d 3
        many b 2 d L1 131072 2048
        alloc-oom d L1 1073741824 4096
        books child
        wait child
        endfork
        wait-child
        free a
        alloc-oom c L1_SMALL 1073741824 2048
        books parent
        wait parent
        """, tmp_path, layout)
    pids = []
    for stop in ("child", "parent"):
        pids.append(bufscope.ready(stop)["pid"])
        bufscope.go()
    report = bufscope.finish()
    child, parent = (process_of(report, pid) for pid in pids)
    counts(child, out_of_memory=1, allocated=2)
    counts(parent, out_of_memory=1, allocated=1, freed=1)
    failure, = child["failed_allocations"]
    assert [failure[key] for key in ("type", "size_bytes", "page_size_bytes", "on_devices", "thread")] == \
        ["L1", 1073741824, 4096, [3], child["pid"]]
    assert [(holder["pid"], holder["live_buffers"], holder["live_bytes"]) for holder in failure["holders"]] == \
        [(child["pid"], 2, 262144), (parent["pid"], 1, 131072)]
    failure, = parent["failed_allocations"]
    assert (failure["type"], failure["holders"], failure["books_ns"]) == ("L1_SMALL", [], None)
    assert child["exact"] and parent["exact"]


def test_out_of_memory_line(tmp_path):
    """As it happens, and in the summary; with a device that was never seen before."""
    command = standin("mesh m 2\nalloc-oom m L1 1073741824 2048")
    run = TextRun(command, tmp_path, options=["--events", "-"])
    text = run.final()
    line = r"⚠ \[PID \d+\] Out of memory: asked for 1073741824 bytes \(1.00 GB\) L1 on devices 0-1\n" \
        r"   no followed process holds any"
    assert re.search(line, run.output.decode()), run.output
    assert re.search(r"^Out of memory\n  ⚠ asked for 1073741824 bytes \(1.00 GB\) L1 on devices 0-1$", text, re.MULTILINE)


def test_out_of_memory_of_many_threads(tmp_path, layout):
    """Each thread's own request is found on its own stack; more than 32 are counted."""
    bufscope = run_standin("""
        mesh m 2
        chip c 5
        threads 20 alloc-oom m L1 1073741824 2048
        threads 20 alloc-oom c DRAM 1099511627776 4096
        """, tmp_path, layout)
    process = harness.only_process(bufscope.finish())
    assert process["out_of_memory"] == 40
    failures = process["failed_allocations"]
    assert len(failures) == 32 and len({failure["thread"] for failure in failures}) == 32
    seen = [(failure["type"], failure["size_bytes"], failure["on_devices"]) for failure in failures]
    assert seen == [("L1", 1 << 30, [0, 1])] * 20 + [("DRAM", 1 << 40, [5])] * 12


def test_no_failure_where_there_is_room(books_test, layout):
    """The memory is full to the last block, and nothing was refused."""
    process = books_test("""
        chip c 0
        alloc all c L1_SMALL 4194304 65536
        books full
        wait full
        """, layout)
    counts(process, allocated=1, out_of_memory=0)


# --- a ring that is too small ---

def test_loss_is_told_while_it_happens(tmp_path):
    """Not only at the end: a snapshot taken after a loss says so."""
    bufscope = run_standin("mesh m 2\nbooks a\nwait a\nchurn 100000 m L1 2048 2048\nbooks b\nwait b", tmp_path,
                           options=("--ring-size", "4K"))
    bufscope.ready("a")
    bufscope.go()
    bufscope.ready("b")
    process = harness.only_process(bufscope.snapshot())
    assert process["lost_records"] > 0 and not process["exact"]
    assert any(reason["reason"] == "lost-records" for reason in process["inexact_reasons"])
    # The program frees nothing twice: a free whose allocation was lost is not called a double one.
    assert process["double_frees"] == 0, process["unmatched_frees"][:3]
    bufscope.go()
    bufscope.finish()


# --- frees that do not match ---

def test_double_free(tmp_path, layout):
    report = last_report("chip c 0\nalloc a c DRAM 8192 2048\ndealloc a\ntrack-free a\ntrack-free a", tmp_path,
                         layout=layout)
    process = harness.only_process(report)
    counts(process, allocated=1, freed=1, double_frees=2, unknown_frees=0, live=0)
    assert [free["verdict"] for free in process["unmatched_frees"]] == ["double", "double"]
    # An object that has given its memory back has no address that could be trusted.
    assert all(free["address"] in (1024, None) for free in process["unmatched_frees"])


def test_missed_free(tmp_path, layout):
    """An object that is allocated twice was freed in between."""
    report = last_report("""
        chip c 0
        alloc a c DRAM 8192 2048
        dealloc a silent
        drop a
        alloc b c DRAM 4096 2048
        """, tmp_path, layout=layout)
    process = harness.only_process(report)
    counts(process, allocated=2, freed=0, missed_frees=1, live=1)
    assert process["buffers"][0]["size_bytes"] == 4096


def test_free_of_an_unknown_object(tmp_path, layout):
    report = last_report("chip c 4\nalloc a c DRAM 8192 2048 silent\nfree a", tmp_path, layout=layout)
    process = harness.only_process(report)
    counts(process, allocated=0, freed=0, unknown_frees=1)
    free, = process["unmatched_frees"]
    assert (free["verdict"], free["address"], free["device"], free["size_bytes"]) == ("unknown", 1024, 4, 8192)


def test_warning_about_an_unknown_object(tmp_path):
    command = standin("chip c 4\nalloc a c DRAM 8192 2048 silent\nfree a")
    text = TextRun(command, tmp_path).final()
    assert re.search(r"⚠ \[PID \d+\] Deallocation for unknown buffer 1024 on device 4\n", text)


# --- the demo: a model's run on eight devices ---

W8 = {"DRAM": [(21, 19.43), (25, 59.83), (19, 24.79), (18, 8.77), (17, 8.16), (25, 67.30), (20, 158.31), (18, 8.78)],
      "L1": [(28, 6.14), (27, 5.94), (27, 6.00), (27, 6.42), (28, 5.72), (27, 5.93), (27, 5.94), (27, 6.38)]}


def assert_w8(process, state):
    for device in process["devices"]:
        for row in device["types"]:
            number, megabytes = W8[row["type"]][device["device"]] if row["type"] in W8 else (0, 0.0)
            assert row[f"{state}_buffers"] == number
            assert f"{row[f'{state}_bytes'] / 2**20:.2f}" == f"{megabytes:.2f}"
    assert process[state] == 381


def demo(folder, *options):
    bufscope = run([harness.DEMO, "--wait", *options], folder)
    bufscope.observing(bufscope.ready("start")["pid"])
    bufscope.go()
    if "--kill" in options:
        bufscope.ready("before-cleanup")
        bufscope.go()
    return bufscope


def test_demo_killed(tmp_path):
    process = harness.only_process(demo(tmp_path, "--kill").finish(137))
    assert_w8(process, "live")
    traces = [row for device in process["devices"] for row in device["types"] if row["type"] == "TRACE"]
    assert [row["peak_bytes"] for row in traces] == [12503040] * 8


def test_demo_in_text(tmp_path):
    bufscope = TextRun([harness.DEMO, "--wait", "--kill"], tmp_path)
    bufscope.observing(bufscope.ready("start")["pid"])
    for stop in (None, "before-cleanup"):
        if stop:
            bufscope.ready(stop)
        bufscope.go()
    assert bufscope.wait() == 137
    text = bufscope.stderr()
    assert "Total tracked allocations: 381\n" in text
    assert re.search(r"✓ Removed 381 buffers \(403\.84 MB\) from PID \d+", text)
    for device in range(8):
        lines = f"Device {device}:\n" + "".join(
            f"  {kind}: {W8[kind][device][0]} buffers, {W8[kind][device][1]:.2f} MB total\n" for kind in ("DRAM", "L1"))
        assert lines in text


def test_four_steps(tmp_path):
    """lifecycle.md: before cleanup, after close, after gc, after exit."""
    bufscope = demo(tmp_path)
    seen = []
    for stop in ("before-cleanup", "after-close", "after-gc", "exit"):
        bufscope.ready(stop)
        process = harness.only_process(bufscope.snapshot())
        if stop == "after-close":
            assert_w8(process, "held")
        seen.append((process["live"], process["held"]))
        bufscope.go()
    assert seen == [(381 + 8 + 8, 0), (0, 381), (0, 0), (0, 0)]
    counts(harness.only_process(bufscope.finish()), live=0, held=0, cleared=0, held_at_close=381, held_released=381)
