# SPDX-License-Identifier: BSD-2-Clause
"""Libraries come and go: mapped late and again, twice in one process, deleted or replaced on disk."""
import os
import shutil
import sys

import pytest

import harness
from harness import Program, attach, counts, library, process_of, run

PROGRAMS = os.path.join(harness.ROOT, "tests", "standin", "programs.py")


def program(scenario, *arguments):
    return [sys.executable, PROGRAMS, scenario, *map(str, arguments)]


def assert_stop(bufscope, name, program=None):
    """At the stop the table equals the program's books; returns its process."""
    books = (program or bufscope).ready(name)
    process = process_of(bufscope.snapshot(), books["pid"])
    harness.assert_equals_books(process, books)
    assert process["exact"], process["inexact_reasons"]
    (program or bufscope).go()
    return process


def test_mapped_unmapped_mapped_again(tmp_path, layout):
    """Also at another address: the load base is told by every hit, not remembered."""
    bufscope = run(program("mapped_again", library(layout)), tmp_path)
    bufscope.loaded()
    for name in ("first", "again", "elsewhere"):
        assert_stop(bufscope, name)
        assert_stop(bufscope, "unmapped-" + name)
    counts(harness.only_process(bufscope.finish()), allocated=9, freed=9, live=0, unknown_frees=0)


@pytest.mark.parametrize("order", (("plain", "pimpl"), ("pimpl", "plain")))
def test_two_versions_in_one_process(tmp_path, order):
    bufscope = run(program("two_versions", *map(library, order)), tmp_path)
    bufscope.loaded()
    process = assert_stop(bufscope, "both")
    assert len(process["runtimes"]) == 2
    assert len({runtime["build_id"] for runtime in process["runtimes"]}) == 2
    assert sorted(buffer["runtime"] for buffer in process["buffers"]) == [0, 0, 1, 1]
    assert_stop(bufscope, "fewer")
    process = assert_stop(bufscope, "one-closed")
    counts(process, live=1, held=1)
    bufscope.finish()


def copies(folder, *layouts):
    paths = [folder / f"{number}.so" for number in range(len(layouts))]
    for path, layout in zip(paths, layouts):
        shutil.copy(library(layout), path)
    return paths


def test_deleted_while_mapped(tmp_path, layout):
    path, = copies(tmp_path, layout)
    bufscope = run(program("replaced", path, "-"), tmp_path)
    bufscope.loaded()
    for name in ("before", "after", "end"):
        process = assert_stop(bufscope, name)
    counts(process, allocated=3, freed=2, live=1)
    bufscope.finish()


def test_deleted_before_the_attachment(tmp_path, layout):
    """The file has no name any more when it is looked at."""
    path, = copies(tmp_path, layout)
    target = Program(program("hold", path), tmp_path)
    target.ready("loaded")
    os.unlink(path)
    bufscope = attach([target.pid], tmp_path)
    bufscope.observing(target.pid)
    target.go()
    counts(assert_stop(bufscope, "holding", target), allocated=1, live=1)
    assert target.wait() == 0
    bufscope.finish()


def test_replaced_while_mapped(tmp_path, layout):
    """Another build takes the file's name; both are watched, each with its own layout."""
    other, = set(harness.LAYOUTS) - {layout}
    path, successor = copies(tmp_path, layout, other)
    bufscope = run(program("replaced", path, successor), tmp_path)
    bufscope.loaded()
    first = assert_stop(bufscope, "before")
    assert_stop(bufscope, "after")
    bufscope.loaded()
    second = assert_stop(bufscope, "holding")
    assert_stop(bufscope, "end")
    assert first["pid"] != second["pid"]
    assert first["runtimes"][0]["build_id"] != second["runtimes"][0]["build_id"]
    report = bufscope.finish()
    counts(process_of(report, first["pid"]), allocated=3, freed=2, live=1)
    counts(process_of(report, second["pid"]), allocated=1, live=1)
