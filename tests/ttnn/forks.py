#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A program of the real runtime that forks without exec, for telling whose objects are whose.

    forks.py inherit    opens a device, holds tensors, forks; the child does nothing
    forks.py orphan     the same, and then the parent ends
    forks.py own        forks first; the child opens the device and holds tensors

Prints "@@child PID" and "@@ready NAME" as workload.py does, then waits for stdin to end.
"""
import os
import sys

import workload


def hold():
    program = workload.Program()
    mesh = program.open()
    return mesh, [program.tensor(mesh, "L1" if i % 3 == 0 else "DRAM") for i in range(10)]


def main(what):
    held = hold() if what != "own" else None
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        held = held or hold()
        os.write(writer, b"x")
        sys.stdin.readline()
        os._exit(0)
    os.read(reader, 1)
    workload.say(f"@@child {child}")
    workload.say("@@ready forked")
    if what == "orphan":
        os._exit(0)
    sys.stdin.readline()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
