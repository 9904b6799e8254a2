#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Process 1 of the guest: mounts what tests need, runs the core, says how it went, powers off.

pytest's output goes to the first serial line, with the kernel's own. The second one has only
"TEST passed|failed NAME", "VERIFIER PROGRAM INSTRUCTIONS" and, last, "RESULT passed N failed N".
"""
import ctypes
import os
import subprocess
import sys
import xml.etree.ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import initramfs  # noqa: E402

MOUNTS = (("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/dev/shm"), ("tmpfs", "/run"),
          ("tracefs", "/sys/kernel/tracing"), ("bpf", "/sys/fs/bpf"))
POWER_OFF = 0x4321FEDC          # LINUX_REBOOT_CMD_POWER_OFF
REPORT, VERIFIER = "/run/junit.xml", "/run/verifier"

libc = ctypes.CDLL(None, use_errno=True)


def mount_all():
    for kind, where in MOUNTS:
        os.makedirs(where, exist_ok=True)
        if libc.mount(b"none", where.encode(), kind.encode(), 0, None):
            raise OSError(ctypes.get_errno(), f"mount {kind}")
    os.makedirs("/tmp", exist_ok=True)


def tainted():
    with open("/proc/sys/kernel/tainted") as file:
        return int(file.read())


def run_core():
    """(name, passed) of every test. A test that is skipped in a guest has failed."""
    env = dict(os.environ, PATH="/usr/sbin:/usr/bin:/sbin:/bin", HOME="/", LC_ALL="C.UTF-8", PYTHONDONTWRITEBYTECODE="1",
               BUFSCOPE_SKIP_IS_FAILURE="1", BUFSCOPE_VERIFIER_OUT=VERIFIER)
    status = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", "--color=no", "--tb=short",
                             "--durations=0", "--junitxml", REPORT, *initramfs.core()],
                            cwd=initramfs.ROOT, env=env, stdin=subprocess.DEVNULL).returncode
    yield "pytest ran", status in (0, 1)
    if os.path.exists(REPORT):
        for case in xml.etree.ElementTree.parse(REPORT).iter("testcase"):
            bad = [kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None]
            yield f"{case.get('classname').split('.')[-1]}: {case.get('name')}", not bad


def main(serial):
    mount_all()
    before = tainted()
    counts = {True: 0, False: 0}
    results = open(serial, "w")
    for name, passed in [*run_core(), ("no warning of the kernel", tainted() == before)]:
        counts[passed] += 1
        print(f"TEST {'passed' if passed else 'failed'} {name}", file=results)
    if os.path.exists(VERIFIER):
        with open(VERIFIER) as file:
            results.writelines(f"VERIFIER {line}" for line in file)
    print(f"RESULT passed {counts[True]} failed {counts[False]}", file=results)
    results.close()


if __name__ == "__main__":
    try:
        main("/dev/ttyS1")
    finally:
        os.sync()
        libc.reboot(POWER_OFF)
