# SPDX-License-Identifier: BSD-2-Clause
"""
The census on the real, unmodified runtime: read from outside, from a process that runs and from its
core, it equals what the runtime's own books say, byte for byte.

Nothing is traced here. The program stands still at its stops because it waits for a line, not because
anybody stopped it.
"""
import glob
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

import harness
import test_chips

TTNN = os.path.join(harness.ROOT, "tests", "ttnn")
sys.path.insert(0, TTNN)
import setup as ttnn_setup  # noqa: E402

DUMP = os.path.join(harness.BUILD, "tests", "bench", "census_dump")
VERSIONS = os.environ.get("BUFSCOPE_CENSUS_VERSIONS", "0.66.0 0.78.0 0.79.0 0.81.1").split()
STOPS = {
    "basic": ("opened", "allocated", "computed", "traced", "some-freed", "all-freed", "closed"),
    "submesh": ("both", "mesh-freed", "part-freed"),
    "hold": ("holding", "half", "none"),
    "four-steps": ("before-cleanup", "after-close", "after-gc"),
    "churn": ("before", "after"),
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


@pytest.fixture(scope="session", autouse=True)
def dump_is_built():
    subprocess.run(["make", "-s", "-C", harness.ROOT, os.path.relpath(DUMP, harness.ROOT)], check=True)


def start(version, kind, folder, *scenario, program="workload.py", core=False):
    python, env = ttnn_setup.environment(version, kind)
    limit = (lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)) if core else None
    return harness.Program([python, os.path.join(TTNN, program), *map(str, scenario)], folder, env=env, preexec_fn=limit)


def dump(*arguments, status=(0,)):
    run = subprocess.run([DUMP, *map(str, arguments)], capture_output=True, text=True, timeout=harness.HANG_SECONDS)
    assert run.returncode in status, (run.returncode, run.stderr, run.stdout[-2000:])
    lines = run.stdout.splitlines()
    assert len(lines) == 1, run.stdout
    return json.loads(lines[0])


def of_mesh(census, mesh):
    """The index of the allocator of the whole device with these chips."""
    devices = {i for i, device in enumerate(census["devices"])
               if device["mesh"] and device["open"] and sorted(device["chips"]) == sorted(mesh["chips"])}
    found = [i for i, each in enumerate(census["allocators"]) if each["device"] in devices and each["sub_device"] == -1]
    assert len(found) == (1 if mesh["open"] else 0), census["devices"]
    return found[0] if found else None


def assert_equals_books(census, books):
    """Blocks, banks, sums and footprints, each type, mesh and part; and nothing else is allocated."""
    seen = set()
    for mesh in books["meshes"]:
        allocator = of_mesh(census, mesh)
        for memory, expected in mesh["types"].items():
            (book,) = [each for each in census["books"] if each["allocator"] == allocator
                       and each["type"] == memory and each["list"] == 0]
            assert book["state"] == "read"
            assert [block[:2] for block in book["blocks"]] == expected["blocks"], (mesh["chips"], memory)
            assert (book["banks"], book["used_bytes"]) == (expected["banks"], expected["bytes_per_bank"])
            assert book["used_bytes"] + book["free_bytes"] == book["bank_bytes"]
            footprint = sum(buffer["footprint"] for buffer in census["buffers"] if buffer["type"] == memory
                            and buffer["allocator"] == census["allocators"][allocator]["object"])
            assert footprint == expected["banks"] * expected["bytes_per_bank"]
            seen.add((allocator, memory))
    others = [book for book in census["books"] if (book["allocator"], book["type"]) not in seen]
    assert not any(book["blocks"] for book in others)
    assert census["exact"], {key: value for key, value in census.items() if isinstance(value, (int, str))}


def table(census):
    """All that must be the same in two censuses of one state."""
    keys = ("devices", "allocators", "books", "buffers", "confirmed", "closed")
    return {key: census[key] for key in keys}


# One chip has no parts.
@pytest.mark.parametrize("kind, scenario", [(kind, scenario) for kind in ("n150", "t3k") for scenario in STOPS
                                            if (kind, scenario) != ("n150", "submesh")])
def test_census_equals_the_books(version, kind, scenario, tmp_path):
    program = start(version, kind, tmp_path, scenario, *([20000] if scenario == "churn" else []))
    for stop in STOPS[scenario]:
        books = program.ready(stop)
        census = dump("-p", program.pid)
        assert_equals_books(census, books)
        assert census["origin"] == "own"
        if stop == "after-close":
            assert census["closed"] == 10               # objects that outlived their device
        program.go()
    assert program.wait() == 0


def test_no_page_is_faulted_in(version, tmp_path):
    program = start(version, "n150", tmp_path, "hold", 12)
    program.ready("holding")
    before = settled(program.pid)
    dump("-p", program.pid)
    assert resident(program.pid) == before


def resident(pid):
    """KiB in memory and swapped out."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return re.findall(r"^(?:Rss|Swap): *(\d+)", file.read(), re.MULTILINE)


def settled(pid):
    """The same, once the runtime's threads have come to rest."""
    deadline = time.monotonic() + harness.HANG_SECONDS
    last, same = None, 0
    while same < 10:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        now = resident(pid)
        last, same = now, same + 1 if now == last else 0
    return last


def core_of(program, folder):
    """Kills with SIGABRT; the core, or a skip where the system sends cores elsewhere."""
    os.kill(program.pid, signal.SIGABRT)
    assert program.wait() == -signal.SIGABRT
    cores = glob.glob(os.path.join(str(folder), "core*"))
    if not cores:
        with open("/proc/sys/kernel/core_pattern") as file:
            pytest.skip("cores go elsewhere: " + file.read().strip())
    return cores[0]


def test_core_equals_the_process(version, kind, tmp_path):
    program = start(version, kind, tmp_path, "hold" if kind == "n150" else "submesh", core=True)
    books = program.ready("holding" if kind == "n150" else "both")
    live = dump("-p", program.pid)
    core = core_of(program, tmp_path)
    dead = dump("--core", core)
    assert_equals_books(dead, books)
    assert table(dead) == table(live)

    if shutil.which("zstd"):
        subprocess.run(["zstd", "-q", "-1", core], check=True)
        assert table(dump("--core", core + ".zst")) == table(live)
        os.truncate(core + ".zst", os.path.getsize(core + ".zst") // 2)
        assert not dump("--core", core + ".zst", status=(3,))["exact"]

    # Cut off: it gives what it has, and says that it is not all.
    os.truncate(core, os.path.getsize(core) * 9 // 10)
    cut = dump("--core", core, status=(3,))
    assert cut["reason"] == "partial" and cut["missing_bytes"] > 0
    for size in (300, 0):
        os.truncate(core, size)
        assert subprocess.run([DUMP, "--core", core], capture_output=True).returncode == 1
    os.unlink(core)


def test_core_without_its_library(version, tmp_path):
    program = start(version, "n150", tmp_path, "hold", core=True)
    program.ready("holding")
    core = core_of(program, tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    run = subprocess.run([DUMP, "--core", core, "--sysroot", str(empty)], capture_output=True, text=True)
    assert run.returncode == 1 and "no runtime's library" in run.stderr
    # Another build in the same place is not taken for it.
    library = ttnn_setup.library(version) if hasattr(ttnn_setup, "library") else None
    if library:
        wrong = empty / str(library).lstrip("/")
        wrong.parent.mkdir(parents=True)
        shutil.copy("/bin/true", wrong)
        run = subprocess.run([DUMP, "--core", core, "--sysroot", str(empty)], capture_output=True, text=True)
        assert run.returncode == 1
    os.unlink(core)


@pytest.mark.parametrize("what", ("inherit", "orphan", "own"))
def test_forked_child(version, kind, what, tmp_path):
    program = start(version, kind, tmp_path, what, program="forks.py")
    program.ready("forked")
    child = int(re.search(rb"@@child (\d+)", program.output)[1])
    if what == "orphan":
        program.popen.wait(harness.HANG_SECONDS)
    try:
        census = dump("-p", child, status=(0, 3))
        assert census["confirmed"] == 10
        if what == "orphan":
            # Versions whose threads come back after a fork leave no sign; never is it taken for its own.
            assert census["origin"] in ("inherited", "unknown"), census["sign"]
        else:
            assert census["origin"] == ("own" if what == "own" else "inherited"), census["sign"]
            assert census["exact"], census["reason"]
        if what == "inherit":
            assert dump("-p", program.pid)["origin"] == "own"
    finally:
        os.kill(child, signal.SIGKILL)


def test_program_that_never_stands_still(version, tmp_path):
    """What is confirmed is right, the rest is counted, and the books are read in spite of everything."""
    program = start(version, "n150", tmp_path, "churn", 300000)
    program.ready("before")
    program.go()
    censuses = []
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        censuses.append(dump("-p", program.pid, status=(0, 3)))
    for census in censuses:
        assert census["confirmed"] >= 1 or census["unread_books"]       # the one tensor that is kept
        assert census["reason"] in ("", "unexplained", "changing")
        blocks = sum(len(book["blocks"]) for book in census["books"])
        assert blocks == census["confirmed"] + census["unexplained_blocks"]
    program.ready("after")
    census = dump("-p", program.pid)
    assert census["exact"] and census["confirmed"] == 1


def test_not_a_program_of_the_runtime():
    run = subprocess.run([DUMP, "-p", str(os.getpid())], capture_output=True, text=True)
    assert run.returncode == 1 and "no runtime's library" in run.stderr


# Maps a file, then runs a program.
MAPPING = """
import mmap, os, runpy, sys
kept = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 4096, mmap.MAP_PRIVATE, mmap.PROT_READ)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("version", ("0.81.1",), indirect=True)
def test_census_tells_which_chip(version, tmp_path):
    """With a driver's files, and a node that the program maps, as a runtime on hardware does."""
    prefix, node = test_chips.with_driver(tmp_path)
    python, env = ttnn_setup.environment(version, "n150")
    program = harness.Program([*prefix, python, "-c", MAPPING, node, os.path.join(TTNN, "workload.py"), "hold", "3"],
                              tmp_path, "program", env=env)
    pid = program.ready("holding")["pid"]
    report = os.path.join(tmp_path, "census.json")
    subprocess.run(["nsenter", "--mount", "--target", str(pid), harness.BUFSCOPE, "census", "-p", str(pid), "--format",
                    "json", "-o", report], check=True, timeout=harness.HANG_SECONDS)
    process, = harness.load_report(report)["processes"]
    assert process["exact"], process["inexact_reasons"]
    assert test_chips.chips(process) == {0: (f"{test_chips.BOARD} {test_chips.PCI}", test_chips.NAMED)}
    for _ in STOPS["hold"]:
        program.go()
    assert program.wait() == 0
