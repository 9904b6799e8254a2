#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""
What the service costs while nothing allocates: its share of a core over a while (60 s, or as many as are given),
and how many programs were started on the machine meanwhile. Root; a figure to read, no verdict.
"""
import os
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUFSCOPE = os.path.join(ROOT, os.environ.get("BUILD", "build"), "bufscope")


def run_ns(pid):
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0])


def starts():
    with open("/proc/stat") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("processes "))


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory() as folder:
        service = subprocess.Popen([BUFSCOPE, "serve", "--socket", os.path.join(folder, "control")],
                                   stderr=subprocess.PIPE, text=True)
        for line in service.stderr:
            if "serving at" in line:
                break
        time.sleep(5)                   # what was there already has been looked at
        spent, begun, since = run_ns(service.pid), starts(), time.monotonic()
        time.sleep(seconds)
        spent, begun, since = run_ns(service.pid) - spent, starts() - begun, time.monotonic() - since
        service.terminate()
        service.communicate()
    processes = sum(name.isdigit() for name in os.listdir("/proc"))
    print(f"idle service: {100 * spent / (since * 1e9):.4f} % of a core in {since:.0f} s, {begun} program starts, "
          f"{processes} processes")
    return service.returncode


if __name__ == "__main__":
    sys.exit(main())
