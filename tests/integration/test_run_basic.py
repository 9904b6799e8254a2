# SPDX-License-Identifier: BSD-2-Clause
"""`bufscope run` on the stand-in runtime: what is alive at any moment is what the program says."""
import json
import os
import re
import shutil
import subprocess

import jsonschema
import pytest

import harness
from harness import TextRun, counts, process_of, run, run_standin, standin


def test_every_type_on_a_mesh(books_test, layout):
    process = books_test("""
        mesh m 8
        alloc a m DRAM 8192 2048
        alloc b m L1 131072 2048
        alloc c m L1_SMALL 4096 1024
        alloc d m TRACE 12503040 2048
        books all
        wait all
        free a
        free d
        books some
        wait some
        free b
        free c
        books none
        wait none
        """, layout)
    counts(process, allocated=4, freed=4, live=0, held=0, missed_frees=0, unknown_frees=0, double_frees=0)
    assert process["end"] == dict(process["end"], how="exit", code=0, signal=None)
    assert process["exact"]


def test_layout_is_reported(books_test, layout):
    process = books_test("mesh m 1\nalloc a m DRAM 2048 2048\nbooks x\nwait x", layout)
    runtime, = process["runtimes"]
    assert runtime["name"] == "tt-metal"
    assert runtime["library"].endswith(f"{layout}/libstandin_tt_metal.so")
    notes = subprocess.run(["readelf", "-n", runtime["library"]], capture_output=True, text=True).stdout
    assert re.search(r"Build ID: (\w+)", notes).group(1) == runtime["build_id"]
    assert runtime["layout"]


def test_single_chips(books_test, layout):
    books_test("""
        chip zero 0
        chip five 5
        alloc a zero DRAM 8192 2048
        alloc b five DRAM 8192 2048
        alloc c five L1 2048 2048
        books open
        wait open
        free a
        books freed
        wait freed
        """, layout)


def test_submesh_has_the_same_addresses(books_test, layout):
    """The address identifies nothing: it is alive on a mesh and on its submesh at once."""
    books_test("""
        mesh m 8
        submesh s m 2 2
        alloc a m DRAM 8192 2048
        alloc b s DRAM 8192 2048
        alloc c s DRAM 8192 2048
        books both
        wait both
        free a
        books one
        wait one
        free b
        alloc d m DRAM 8192 2048
        books again
        wait again
        """, layout)


def test_meshes_of_all_sizes(books_test):
    """Chips are known from a mesh's first allocation on."""
    script = ""
    for chips in (1, 2, 3, 4, 8, 16, 32, 64):
        script += f"mesh m{chips} {chips}\nalloc a{chips} m{chips} L1 2048 2048\nbooks b{chips}\nwait b{chips}\n"
    books_test(script)


def test_many_buffers(books_test, layout):
    process = books_test("""
        chip c 0
        many x 20000 c DRAM 2048 2048
        books many
        wait many
        drop-prefix x1
        books fewer
        wait fewer
        """, layout)
    counts(process, allocated=20000, freed=11111, live=8889, cleared=8889)


def test_address_is_used_again(books_test, layout):
    """The reuse seen in practice: 524,288 B, free, 98,304 B, free, at one address."""
    process = books_test("""
        chip c 0
        alloc a c DRAM 524288 2048
        free a
        alloc b c DRAM 98304 2048
        books second
        wait second
        free b
        churn 5000 c DRAM 4096 2048
        books churned
        wait churned
        """, layout)
    counts(process, allocated=5002, freed=5002)


def test_counted_exactly_from_many_threads(books_test, layout):
    """64 threads, 400 each; some keep what they have."""
    process = books_test("""
        chip c 0
        threads 64 churn 400 c DRAM 4096 2048
        threads 64 alloc kept% c L1 2048 2048
        books kept
        wait kept
        threads 32 free kept%
        books half
        wait half
        """, layout)
    counts(process, allocated=64 * 400 + 64, freed=64 * 400 + 32, live=32)


def test_out_of_memory_is_caught(books_test, layout):
    """The exception passes through the probed library; a return probe would kill the program here."""
    process = books_test("""
        chip c 0
        alloc-oom c L1 1073741824 2048
        fill x c L1_SMALL 262144 2048
        books full
        wait full
        drop-all
        books empty
        wait empty
        """, layout)
    assert process["allocated"] == process["freed"] > 0


def test_hooked_and_empty_allocations_take_no_memory(books_test, layout):
    process = books_test("""
        chip c 0
        alloc a c DRAM 2048 2048
        books before
        wait before
        alloc hooked c DRAM 2048 2048 hooked
        alloc empty c DRAM 0 0
        drop hooked
        drop empty
        books after
        wait after
        """, layout)
    counts(process, allocated=1, freed=0, unknown_frees=0)


def test_library_is_mapped_late(tmp_path, layout):
    bufscope = run(standin("wait early\nload\nbooks loaded\nwait loaded\nmesh m 2\nalloc a m DRAM 2048 2048\n"
                           "books x\nwait x", layout, load=False), tmp_path)
    bufscope.ready("early")
    assert not any(process["runtimes"] for process in bufscope.snapshot()["processes"])
    bufscope.go()
    bufscope.loaded()
    books = bufscope.ready("x")
    process = process_of(bufscope.snapshot(), books["pid"])
    harness.assert_equals_books(process, books)
    assert process["exact"], process["inexact_reasons"]
    bufscope.go()
    bufscope.finish()


def test_library_is_mapped_at_the_start(tmp_path, layout):
    """LD_PRELOAD, as a program that links it: the loader maps it before main."""
    command = standin("mesh m 2\nalloc a m DRAM 2048 2048\nbooks x\nwait x", layout)
    bufscope = run(["env", "LD_PRELOAD=" + harness.library(layout), *command], tmp_path)
    bufscope.loaded()
    books = bufscope.ready("x")
    harness.assert_equals_books(process_of(bufscope.snapshot(), books["pid"]), books)
    bufscope.go()
    bufscope.finish()


def test_program_that_does_not_wait(tmp_path):
    """
    It allocates the moment its library is mapped. What was missed must not be passed over in silence;
    and the next program with that library is watched from its first instruction on.
    """
    script = tmp_path / "quick.script"
    script.write_text("mesh m 2\nmany a 10 m DRAM 2048 2048\n")
    quick = f"{harness.WORKLOAD} --library {harness.library('pimpl')} -f {script}"
    bufscope = run(standin(f"vfork {quick}\nwait-child\nload\nbooks loaded\nwait loaded\nvfork {quick}\nwait-child",
                           load=False), tmp_path)
    bufscope.loaded()
    report = bufscope.finish()
    # Of a pid's address spaces (vfork, then exec) the last one is the program.
    children = {p["pid"]: process_of(report, p["pid"]) for p in report["processes"] if p["parent"]}
    first, second = sorted(children.values(), key=lambda p: p["start_ns"])
    assert first["allocated"] == 10 or not first["exact"]
    assert second["exact"], second["inexact_reasons"]
    counts(second, allocated=10, live=10, cleared=10)


def test_library_of_another_name_that_is_deleted(tmp_path, layout):
    copy = tmp_path / "an odd name;1.so.9"
    shutil.copy(harness.library(layout), copy)
    bufscope = run(standin("mesh m 2\nalloc a m DRAM 2048 2048\nbooks x\nwait x", lib=str(copy)), tmp_path)
    pid = bufscope.ready("loaded")["pid"]
    copy.unlink()
    bufscope.observing(pid)
    bufscope.go()
    books = bufscope.ready("x")
    harness.assert_equals_books(process_of(bufscope.snapshot(), books["pid"]), books)
    bufscope.go()
    bufscope.finish()


def test_two_versions_in_two_processes(tmp_path):
    """A process tree with both layouts at once."""
    script = tmp_path / "plain.script"
    script.write_text("load\nbooks loaded\nwait loaded\nmesh m 4\nalloc b m DRAM 4096 2048\nalloc c m L1 4096 2048\nfree c\n")
    bufscope = run_standin(f"""
        mesh m 2
        alloc a m DRAM 2048 2048
        vfork {harness.WORKLOAD} --library {harness.library('plain')} -f {script}
        wait-child
        books x
        wait x
        """, tmp_path)
    bufscope.loaded()
    books = bufscope.ready("x")
    harness.assert_equals_books(process_of(bufscope.snapshot(), books["pid"]), books)
    bufscope.go()
    report = bufscope.finish()
    libraries = {p["runtimes"][0]["library"]: p for p in report["processes"] if p["runtimes"]}
    assert len(libraries) == 2
    counts(libraries[harness.library("plain")], allocated=2, freed=1, live=1, cleared=1)


def test_two_processes_with_equal_addresses(tmp_path, layout):
    script = "chip c 0\nalloc a c DRAM 8192 2048\nalloc b c DRAM 4096 2048\nbooks x\nwait x\nfree a\nbooks y\nwait y"
    both = [run_standin(script, tmp_path, layout, name=f"bufscope{i}") for i in range(2)]
    for stop in ("x", "y"):
        for bufscope in both:
            books = bufscope.ready(stop)
            report = bufscope.snapshot()
            harness.assert_equals_books(process_of(report, books["pid"]), books)
            assert len([p for p in report["processes"] if p["runtimes"]]) == 1
        for bufscope in both:
            bufscope.go()
    for bufscope in both:
        counts(harness.only_process(bufscope.finish()), allocated=2, freed=1, live=1)


@pytest.mark.parametrize("script, status", [("exit 0", 0), ("exit 7", 7), ("kill KILL", 137), ("kill TERM", 143),
                                            ("abort", 134)])
def test_exit_status_is_passed_on(tmp_path, script, status):
    bufscope = run_standin("mesh m 1\nalloc a m DRAM 2048 2048\n" + script, tmp_path)
    process = harness.only_process(bufscope.finish(status))
    counts(process, live=1, cleared=1)
    if status >= 128:
        assert (process["end"]["how"], process["end"]["signal"]) == ("signal", status - 128)
    else:
        assert (process["end"]["how"], process["end"]["code"]) == ("exit", status)


def test_stdout_of_the_command_stays_its_own(tmp_path):
    command = standin("mesh m 1\nalloc a m DRAM 2048 2048\necho one\necho two\nbooks x")
    bufscope = run(command, tmp_path)
    bufscope.loaded()
    bufscope.finish()
    plain = subprocess.run(command, input=b"\n", capture_output=True, check=True).stdout
    hide = lambda text: re.sub(rb'"(pid|object|device_object|allocator)": \d+', b"", text)  # noqa: E731
    assert hide(bufscope.output) == hide(plain)


def test_text_summary(tmp_path):
    command = standin("mesh m 2\nalloc a m DRAM 1048576 2048\nalloc b m L1 2048 2048\nkill KILL")
    text = TextRun(command, tmp_path).final(137)
    assert "REMAINING ALLOCATED BUFFERS" in text
    assert "Total tracked allocations: 4" in text          # two buffers on two chips
    assert "Device 0:\n" in text and "Device 1:\n" in text
    assert "  DRAM: 1 buffers, 1.00 MB total\n" in text
    assert re.search(r"✓ Removed 4 buffers \(2\.00 MB\) from PID \d+", text)
    assert "\x1b" not in text                              # a file is no terminal


def test_text_summary_of_an_empty_table(tmp_path):
    text = TextRun(standin("mesh m 2\nalloc a m DRAM 1048576 2048\nfree a"), tmp_path, locale="C").final()
    assert "No buffers remaining" in text
    assert text.isascii()                                  # no box drawing without a UTF-8 locale


def test_interval(tmp_path):
    """Tables that repeat are told apart by a line with the time; the report at the end has none."""
    bufscope = TextRun(harness.standin("mesh m 1\nalloc a m DRAM 4096 1024\nwait allocated"), tmp_path,
                       options=("--interval", "0.05"))
    bufscope.loaded()
    bufscope.ready("allocated")
    heading = r"^--- \d{4}-\d\d-\d\d \d\d:\d\d:\d\d ---\n"
    bufscope.wait_stderr(f"(?:{heading}[^-]*DRAM: 1 buffers[\\s\\S]*){{2}}")
    before = len(bufscope.stderr())
    bufscope.go()
    assert bufscope.wait() == 0
    last = bufscope.stderr()[before:].split("REMAINING ALLOCATED BUFFERS")[-2]
    assert not re.search(heading + r"\S+\s*\Z", last, re.MULTILINE)


def test_events(tmp_path):
    events = tmp_path / "events.ndjson"
    bufscope = run_standin("mesh m 2\nalloc a m DRAM 4096 2048\nalloc b m L1 2048 2048\nfree a\nclose m\ndrop b", tmp_path, options=["--events", str(events)])
    bufscope.finish()
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    schema = harness.schema_of("bufscope.event/1")
    for line in lines:
        jsonschema.validate(line, schema)
    kinds = [line["event"] for line in lines]
    assert kinds.count("allocate") == 2 and kinds.count("free") == 1
    first, = [line for line in lines if line["event"] == "free"]
    made = [line for line in lines if line["event"] == "allocate"]
    assert first["object"] == made[0]["object"] and first["serial"] == made[0]["serial"]
    assert kinds.index("close") < kinds.index("exit")
    times = [line["time_ns"] for line in lines]
    assert all(times)


def test_perf_links(tmp_path, layout):
    """The way of kernels before 6.6; detaching is slow there, so it is left to a process nobody waits for."""
    bufscope = run(standin("mesh m 4\nmany a 20 m DRAM 8192 2048\nfree a3\nclose m\nwait x\ndrop-all\nwait y", layout), tmp_path,
                   options=("--perf-links",))
    bufscope.loaded()
    bufscope.ready("x")
    process = harness.only_process(bufscope.snapshot())
    counts(process, allocated=20, freed=1, held=19, live=0)
    bufscope.go()
    bufscope.ready("y")
    counts(harness.only_process(bufscope.snapshot()), held=0, held_released=19)
    bufscope.go()
    report = bufscope.finish()
    assert harness.only_process(report)["exact"]


def test_devices_are_told_before_their_buffers(books_test):
    """Many threads are the first to use a device at once; no record may overtake the device's."""
    rounds, threads = 300, 4
    script = "".join(f"chip c{i} {i % 8}\nthreads {threads} alloc b{i}-% c{i} L1_SMALL 64 32\n" for i in range(rounds))
    process = books_test(script + "books told\nwait told")
    counts(process, allocated=rounds * threads)


def test_first_event_names_the_command(tmp_path):
    bufscope = TextRun(["sh", "-c", "exec /bin/true"], tmp_path, options=("--events", str(tmp_path / "events")))
    assert bufscope.wait() == 0
    said = [re.sub(r"PID \d+", "PID", line) for line in (tmp_path / "events").read_text().splitlines()]
    assert said == ["· [PID] Executes sh -c 'exec /bin/true'", "· [PID] Replaced by exec", "· [PID] Exited with status 0"]
