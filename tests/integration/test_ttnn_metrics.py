# SPDX-License-Identifier: BSD-2-Clause
"""The real runtime: Prometheus, `bufscope dump` and the runtime's own books tell the same bytes."""
import collections

import pytest

import harness
import prometheus
from harness import Program
from prometheus import Endpoint, Prometheus, gone, nonzero, reported_cells
from service import Server
from test_ttnn import exact, real, ttnn_setup

VERSION = "0.81.1"


@pytest.fixture(scope="module")
def installed():
    try:
        ttnn_setup.install(VERSION)
    except ttnn_setup.Unavailable as reason:
        pytest.skip(str(reason))


def taken(books):
    """{(chip, type): bytes} by the runtime's own account."""
    sums = collections.Counter()
    for mesh in books["meshes"]:
        for kind, memory in mesh["types"].items():
            for chip in mesh["chips"]:
                sums[str(chip), kind] += memory["bytes_per_bank"] * memory["banks"]
    return +sums


def asked(reader, name, pid):
    rows = reader.query(f'sum by (device, type) (bufscope_process_{name}{{pid="{pid}"}})')
    return {(row.labels["device"], row.labels["type"]): int(row.value) for row in rows}


def test_prometheus_dump_and_books(installed, tmp_path):
    """
    The program is older than the service, so a census has read the books: what its buffers really take is known,
    and stays so while some of them are freed.
    """
    command, env = real(VERSION, "t3k", "hold", 12)
    program = Program(command, tmp_path, env=env)
    books = program.ready("holding")
    server = Server(tmp_path, ["--metrics", "0"])
    reader = Prometheus(Endpoint.of(server), tmp_path)
    for stop in ("holding", "half", "none"):
        if stop != "holding":
            program.go()
            books = program.ready(stop)
        reader.scraped()
        process = exact(server.dump("-p", program.pid), program.pid)
        harness.assert_equals_runtime_books(process, books)
        for name in ("live_bytes", "live_buffers", "peak_bytes"):
            assert nonzero(asked(reader, name, program.pid)) == nonzero(reported_cells(process, name)), (stop, name)
        assert nonzero(asked(reader, "footprint_bytes", program.pid)) == taken(books), stop
        assert bool(taken(books)) == (stop != "none")
        assert set(asked(reader, "footprint_unknown_buffers", program.pid).values()) == {0}
        capacity = asked(reader, "capacity_bytes", program.pid)
        for allocator in process["allocators"]:
            for chip in allocator["on_devices"]:
                assert capacity[str(chip), allocator["type"]] >= allocator["capacity_bytes"] > 0
        prometheus.assert_equals_report(prometheus.parse(Endpoint.of(server).now()), process)
    program.go()
    assert program.wait() == 0
    server.stop()


def test_killed(installed, tmp_path):
    """One that began after the service, and is killed: what it held is gone, and what it did still counts."""
    server = Server(tmp_path, ["--metrics", "0"])
    reader = Prometheus(Endpoint.of(server), tmp_path)
    command, env = real(VERSION, "n150", "hold", 12)
    program = Program(command, tmp_path, env=env)
    books = program.ready("holding")
    reader.scraped()
    process = exact(server.dump("-p", program.pid), program.pid)
    harness.assert_equals_runtime_books(process, books)
    assert nonzero(asked(reader, "live_bytes", program.pid)) == nonzero(reported_cells(process, "live_bytes"))
    assert sum(asked(reader, "live_buffers", program.pid).values()) == 12
    program.popen.kill()
    program.popen.wait()
    gone(server, program.pid)
    reader.scraped()
    assert not asked(reader, "live_bytes", program.pid)
    row, = reader.query("bufscope_allocations_total")
    assert int(row.value) >= process["allocated"] >= 12
    server.stop()
