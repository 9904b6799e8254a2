# SPDX-License-Identifier: BSD-2-Clause
"""
The real, unmodified runtime on its mock device: what bufscope reports equals the allocators' own
books, at every stop.
"""
import glob
import os
import re
import signal
import subprocess
import sys

import pytest

import harness
from harness import counts, process_of

TTNN = os.path.join(harness.ROOT, "tests", "ttnn")
sys.path.insert(0, TTNN)
import setup as ttnn_setup  # noqa: E402

VERSIONS = ("0.66.0", "0.78.0", "0.79.0", "0.81.1")
LIBRARIES = ("0.60.1", "0.62.2", "0.64.5") + VERSIONS
STOPS = {
    "basic": ("opened", "allocated", "computed", "traced", "some-freed", "all-freed", "closed"),
    "submesh": ("both", "mesh-freed", "part-freed"),
}


@pytest.fixture(scope="session", params=VERSIONS)
def version(request):
    try:
        ttnn_setup.install(request.param)
    except ttnn_setup.Unavailable as reason:
        pytest.skip(str(reason))
    return request.param


@pytest.fixture(params=("n150", "t3k"))
def kind(request):
    return request.param


def real(version, kind, *scenario):
    """(command line, environment) of a scenario on the real runtime."""
    python, env = ttnn_setup.environment(version, kind)
    return [python, os.path.join(TTNN, "workload.py"), *map(str, scenario)], env


def run(version, kind, folder, *scenario, name="bufscope"):
    command, env = real(version, kind, *scenario)
    return harness.run(command, folder, name=name, env=env)


def exact(report, pid):
    process = process_of(report, pid)
    assert process["exact"], process["inexact_reasons"]
    return process


# One chip has no parts.
@pytest.mark.parametrize("kind, scenario", (("n150", "basic"), ("t3k", "basic"), ("t3k", "submesh")))
def test_live_set_equals_the_books(version, kind, scenario, tmp_path):
    bufscope = run(version, kind, tmp_path, scenario)
    for stop in STOPS[scenario]:
        books = bufscope.ready(stop)
        process = exact(bufscope.snapshot(), books["pid"])
        harness.assert_equals_runtime_books(process, books)
        # A mock device is no chip of this machine.
        assert all(device["chip"]["known_by"] == "number" for device in process["devices"])
        bufscope.go()
    process = exact(bufscope.finish(), books["pid"])
    counts(process, unknown_frees=0, double_frees=0, missed_frees=0, live=0)
    assert process["end"]["how"] == "exit" and process["end"]["code"] == 0


def test_killed_in_the_middle(version, kind, tmp_path):
    bufscope = run(version, kind, tmp_path, "hold", 12)
    books = bufscope.ready("holding")
    bufscope.go()
    books = bufscope.ready("half")
    os.kill(books["pid"], signal.SIGKILL)
    process = exact(bufscope.finish(128 + signal.SIGKILL), books["pid"])
    harness.assert_equals_runtime_books(process, books)
    counts(process, live=6, cleared=6)
    assert process["end"]["signal"] == signal.SIGKILL


def test_four_steps(version, kind, tmp_path):
    """lifecycle.md: N live, N held, 0, 0."""
    bufscope = run(version, kind, tmp_path, "four-steps", 15)
    seen = []
    for stop in ("before-cleanup", "after-close", "after-gc"):
        books = bufscope.ready(stop)
        process = exact(bufscope.snapshot(), books["pid"])
        harness.assert_equals_runtime_books(process, books)
        seen.append((process["live"], process["held"]))
        bufscope.go()
    process = exact(bufscope.finish(), books["pid"])
    seen.append((process["live"], process["held"]))
    assert seen == [(15, 0), (0, 15), (0, 0), (0, 0)]
    counts(process, held_at_close=15, held_released=15, cleared=0)


def test_counted_exactly(version, kind, tmp_path):
    """25,200 allocations and as many frees."""
    number = 25200
    bufscope = run(version, kind, tmp_path, "churn", number)
    books = bufscope.ready("before")
    before = exact(bufscope.snapshot(), books["pid"])
    harness.assert_equals_runtime_books(before, books)
    bufscope.go()
    books = bufscope.ready("after")
    after = exact(bufscope.snapshot(), books["pid"])
    harness.assert_equals_runtime_books(after, books)
    assert after["allocated"] - before["allocated"] == number
    assert after["freed"] - before["freed"] == number
    bufscope.go()
    exact(bufscope.finish(), books["pid"])


def test_out_of_memory_is_caught(version, kind, tmp_path):
    bufscope = run(version, kind, tmp_path, "out-of-memory", 3)
    books = bufscope.ready("survived")
    assert b"@@failures 3" in bufscope.output
    harness.assert_equals_runtime_books(exact(bufscope.snapshot(), books["pid"]), books)
    bufscope.go()
    bufscope.finish()


def test_two_processes_on_one_device(version, tmp_path):
    both = [run(version, "n150", tmp_path, "hold", number, name=f"bufscope{number}") for number in (4, 9)]
    for stop in ("holding", "half", "none"):
        for bufscope in both:
            books = bufscope.ready(stop)
            harness.assert_equals_runtime_books(exact(bufscope.snapshot(), books["pid"]), books)
        for bufscope in both:
            bufscope.go()
    for bufscope in both:
        bufscope.finish()


def test_two_processes_in_one_report(version, tmp_path):
    """Both under one bufscope: same device, same addresses, kept apart."""
    command, env = real(version, "n150", "hold", 5)
    programs = [harness.Program(["sh", "-c", 'read line; exec "$@"', "sh", *command], tmp_path, name=f"program{i}",
                                env=env) for i in range(2)]
    bufscope = harness.attach([program.pid for program in programs], tmp_path)
    for program in programs:
        program.go()
    for stop in ("holding", "half", "none"):
        books = [program.ready(stop) for program in programs]
        report = bufscope.snapshot()
        for book in books:
            harness.assert_equals_runtime_books(process_of(report, book["pid"]), book)
        for program in programs:
            program.go()
    for program in programs:
        assert program.wait() == 0
    bufscope.finish()


def test_chatter_on_stdout_stays_untouched(version, tmp_path):
    """The report is in its file only; what the runtime prints is what it prints without bufscope."""
    command, env = real(version, "n150", "basic")
    text = b"\n" * len(STOPS["basic"])
    alone = subprocess.run(command, env=env, input=text, capture_output=True, cwd=tmp_path, check=True).stdout
    traced = subprocess.run([harness.BUFSCOPE, "run", "--format", "json", "-o", str(tmp_path / "r.json"), "--", *command],
                            env=env, input=text, capture_output=True, cwd=tmp_path, check=True).stdout
    changing = re.compile(rb"\d[\d:.-]*|0x[0-9a-f]+")
    assert sorted(changing.sub(b"#", traced).splitlines()) == sorted(changing.sub(b"#", alone).splitlines())
    report = harness.load_report(tmp_path / "r.json")
    assert [p for p in report["processes"] if p["runtimes"]]


def test_attach_before_the_import(version, kind, tmp_path):
    """The interpreter runs already; the library is mapped when the program imports it."""
    command, env = real(version, kind, "submesh" if kind == "t3k" else "hold", 6)
    program = harness.Program(["sh", "-c", 'echo up; read line; exec "$@"', "sh", *command], tmp_path, env=env)
    assert program.line() == "up"
    bufscope = harness.attach([program.pid], tmp_path)
    program.go()
    stops = STOPS["submesh"] if kind == "t3k" else ("holding", "half", "none")
    for stop in stops:
        books = program.ready(stop)
        harness.assert_equals_runtime_books(exact(bufscope.snapshot(), books["pid"]), books)
        program.go()
    assert program.wait() == 0
    bufscope.finish()


@pytest.mark.parametrize("number", LIBRARIES)
def test_check_accepts_the_library(number):
    try:
        library = ttnn_setup.library(number)
    except ttnn_setup.Unavailable as reason:
        pytest.skip(str(reason))
    result = subprocess.run([harness.BUFSCOPE, "check", library], capture_output=True, text=True,
                            timeout=harness.HANG_SECONDS)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("number", LIBRARIES)
def test_rule_of_the_chips_numbers(number):
    """Where the function is that tells how chips are numbered, its name is the one that is looked for."""
    with open(os.path.join(harness.ROOT, "user", "runtime", "tt_metal.c")) as file:
        wanted = re.search(r'numbering_symbol = "(\w+)"', file.read()).group(1)
    try:
        folder = os.path.dirname(ttnn_setup.library(number))
    except ttnn_setup.Unavailable as reason:
        pytest.skip(str(reason))
    libraries = glob.glob(os.path.join(glob.escape(folder), "libtt-umd.so*"))
    for library in libraries:
        symbols = subprocess.run(["readelf", "--dyn-syms", "-W", library], capture_output=True, text=True).stdout
        assert re.search(rf"FUNC .* {wanted}$", symbols, re.MULTILINE)
    assert bool(libraries) == (number not in ("0.60.1", "0.62.2", "0.64.5", "0.66.0"))
