# SPDX-License-Identifier: BSD-2-Clause
"""What depends on the kernel: which links are used, and what the verifier needs for each program.

Both are read from the descriptors of a running bufscope, so they are of what it really loaded.
"""
import glob
import os
import re

import pytest

import conftest
import harness
from harness import counts, run, standin

RECORD = os.path.join(harness.ROOT, "tests", "kernels", "verifier.txt")
SERIES = re.match(r"\d+\.\d+", os.uname().release).group()


def descriptors(pid):
    """The "key: value" lines of /proc/PID/fdinfo, one dictionary a descriptor."""
    for path in glob.glob(f"/proc/{pid}/fdinfo/*"):
        with open(path) as file:
            yield dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def watching(folder, options=()):
    """A bufscope that watches a library."""
    bufscope = run(standin("wait x"), folder, options)
    bufscope.loaded()
    bufscope.ready("x")
    return bufscope


def has_symbol(name):
    with open("/proc/kallsyms") as file:
        return any(line.split()[2] == name for line in file)


@pytest.mark.parametrize("option", [(), ("--perf-links",)], ids=["default", "perf-links"])
def test_links(tmp_path, option):
    """uprobe_multi where the kernel has it, by the kernel's own symbols and not by its version; else perf links."""
    multi = has_symbol("bpf_uprobe_multi_link_attach") and not option
    bufscope = watching(tmp_path, option)
    kinds = {entry["link_type"] for entry in descriptors(bufscope.pid) if "link_type" in entry}
    assert kinds == {"uprobe_multi" if multi else "perf", "raw_tracepoint"}
    bufscope.go()
    bufscope.finish()


def verifier_costs(folder):
    """Program -> instructions the verifier went through."""
    bufscope = watching(folder)
    names = {ident: entry["name"] for ident, entry in conftest.bpf_objects("prog").items() if "name" in entry}
    costs = {names[int(entry["prog_id"])]: int(entry["verified_insns"]) for entry in descriptors(bufscope.pid)
             if "verified_insns" in entry}
    bufscope.go()
    bufscope.finish()
    return costs


def recorded():
    """Program -> instructions on this series of kernels, from the record."""
    with open(RECORD) as file:
        rows = [line.split() for line in file if not line.startswith("#")]
    return {program: int(cost) for series, program, cost in rows if series == SERIES}


def test_verifier_cost(tmp_path):
    """A program that costs twice as much is near the verifier's limit sooner than anyone thinks."""
    costs = verifier_costs(tmp_path)
    out = os.environ.get("BUFSCOPE_VERIFIER_OUT")
    if out:
        with open(out, "w") as file:
            file.writelines(f"{program} {cost}\n" for program, cost in sorted(costs.items()))
    known = recorded()
    if not known:
        pytest.skip(f"no record for Linux {SERIES}: tests/kernels/boot.py --record {SERIES}")
    assert costs.keys() == known.keys(), "make verifier-record writes the record anew"
    assert all(cost <= 2 * known[program] for program, cost in costs.items()), (costs, known)


def test_pages_that_are_not_there(books_test, layout):
    """
    NUMA balancing takes pages away from the program until it touches them again. The program on the
    probe brings them in: the object's, and those of its mesh of eight chips, seen for the first time.
    """
    process = books_test("mesh m 8\nalloc a m DRAM 8192 2048 silent\ntrack-absent a\nbooks x\nwait x\nfree a", layout)
    counts(process, allocated=1, freed=1, live=0)
