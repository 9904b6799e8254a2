#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The integration core on Debian's own kernels, under QEMU without KVM.

    boot.py [SERIES...]    run it: 6.1, 6.12; all when none is named
    boot.py --record       write what the verifier needs for each program, here and there, to verifier.txt

The newest cloud kernel of a series comes from the distribution's packages and is kept in the cache
folder outside the source tree: $BUFSCOPE_CACHE, else $XDG_CACHE_HOME/bufscope, else ~/.cache/bufscope.
What a guest printed is in build/kernels/SERIES.log; its verdict, from a second serial line, in
SERIES.result.
"""
import collections
import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import initramfs  # noqa: E402
from initramfs import core  # noqa: E402,F401

SERIES = ("6.1", "6.12")
RECORD = os.path.join(HERE, "verifier.txt")
OUTPUT = os.path.join(initramfs.BUILD, "kernels")
GUEST_SECONDS = 900             # only a hang gets there: a guest needs about two minutes on a busy machine
QEMU = "qemu-system-x86_64"

Verdict = collections.namedtuple("Verdict", "tests verifier problem log")    # tests: name -> passed


class Unavailable(Exception):
    """This kernel cannot be run on this machine; the text says what would be needed."""


def cache_folder():
    base = os.environ.get("BUFSCOPE_CACHE")
    if not base:
        base = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "bufscope")
    folder = os.path.join(base, "kernels")
    os.makedirs(folder, exist_ok=True)
    return folder


def numbers(name):
    return [int(number) for number in re.findall(r"\d+", os.path.basename(name))]


def newest_package(series):
    """The name of the series' newest cloud kernel that apt knows, or None."""
    pattern = rf"^linux-image-{re.escape(series)}\.[0-9].*cloud-amd64$"
    found = subprocess.run(["apt-cache", "search", "--names-only", pattern], stdout=subprocess.PIPE, text=True).stdout
    names = [line.split()[0] for line in found.splitlines()]
    return max(names, key=numbers) if names else None


def download(package, target):
    """Takes the kernel out of the package. False when apt cannot get it (any more)."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(target)) as folder:
        status = subprocess.run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", package], cwd=folder,
                                stdin=subprocess.DEVNULL).returncode
        debs = glob.glob(os.path.join(folder, "*.deb"))
        if status or not debs:
            return False
        subprocess.run(["dpkg-deb", "--extract", debs[0], folder], check=True)
        os.rename(glob.glob(os.path.join(folder, "boot", "vmlinuz-*"))[0], target)
    return True


def kernel(series):
    """The path of the series' newest kernel."""
    if not shutil.which("apt-cache") or not shutil.which("dpkg-deb"):
        raise Unavailable("kernels come from Debian's packages; this system has no apt")
    folder = cache_folder()
    for update in (False, True):
        if update and (os.geteuid() or subprocess.run(["apt-get", "update", "-qq"]).returncode):
            break
        package = newest_package(series)
        if package:
            path = os.path.join(folder, package.replace("linux-image", "vmlinuz", 1))
            if os.path.exists(path) or download(package, path):
                return path
    cached = glob.glob(os.path.join(glob.escape(folder), f"vmlinuz-{series}.*"))
    if cached:
        return max(cached, key=numbers)
    raise Unavailable(f"no package of a {series} cloud kernel (Debian 12 has them; apt-get update)")


def check_tools():
    for tool, package in ((QEMU, "qemu-system-x86"), ("cpio", "cpio")):
        if not shutil.which(tool):
            raise Unavailable(f"{tool} is not installed (Debian package {package}; make deps-test)")
    if os.uname().machine != "x86_64":
        raise Unavailable("guests are x86-64 ones, as this machine would have to be: they run its own programs")


def boot(path, archive, log, result):
    """True if the guest powered off by itself."""
    with open(log, "wb") as output:
        try:
            subprocess.run([QEMU, "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024", "-smp", "2", "-display", "none",
                            "-nodefaults", "-no-reboot", "-serial", "stdio", "-serial", "file:" + result, "-kernel", path,
                            "-initrd", archive, "-append", f"console=ttyS0 quiet panic=-1 rdinit={initramfs.GUEST}"],
                           stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=GUEST_SECONDS)
        except subprocess.TimeoutExpired:
            return False
    return True


def read_verdict(text, ended, log):
    """Only a RESULT line that agrees with the tests before it is a verdict."""
    tests = {name: how == "passed" for how, name in re.findall(r"^TEST (passed|failed) (.*?)\r?$", text, re.MULTILINE)}
    verifier = {name: int(cost) for name, cost in re.findall(r"^VERIFIER (\S+) (\d+)\r?$", text, re.MULTILINE)}
    result = re.search(r"^RESULT passed (\d+) failed (\d+)\r?$", text, re.MULTILINE)
    passed = sum(tests.values())
    problem = None
    if not ended:
        problem = f"it did not end within {GUEST_SECONDS} s"
    elif not result:
        problem = "it ended without a RESULT line"
    elif (int(result.group(1)), int(result.group(2))) != (passed, len(tests) - passed):
        problem = f"\"{result.group(0).strip()}\", but {passed} of {len(tests)} tests passed"
    return Verdict(tests, verifier, problem, log)


def run_guest(series, path, archive):
    log, result = (os.path.join(OUTPUT, f"{series}.{kind}") for kind in ("log", "result"))
    for old in (log, result):
        if os.path.exists(old):
            os.unlink(old)
    ended = boot(path, archive, log, result)
    text = ""
    if os.path.exists(result):
        with open(result, errors="replace") as file:
            text = file.read()
    return read_verdict(text, ended, log)


def self_check():
    """What must never pass for a verdict: the names of those that do."""
    good = "TEST passed a\r\nTEST failed b\r\nRESULT passed 1 failed 1\r\n"
    cases = {
        "a guest that says nothing": ("", True),
        "a guest without a RESULT line": (good[:good.index("RESULT")], True),
        "a RESULT line that is cut off": (good[:-4], True),
        "a RESULT line of other tests": (good.replace("passed 1", "passed 2"), True),
        "a guest that hangs": (good, False),
    }
    if read_verdict(good, True, "").problem:
        yield "a good verdict is refused"
    for name, (text, ended) in cases.items():
        if not read_verdict(text, ended, "").problem:
            yield f"{name} passes"


def run(wanted=SERIES):
    """Series -> Verdict, or the Unavailable that says why there is none. Guests run side by side."""
    verdicts, paths = {}, {}
    for series in wanted:
        try:
            check_tools()
            paths[series] = kernel(series)
            print(f"{series}: {os.path.basename(paths[series])}", flush=True)
        except Unavailable as reason:
            verdicts[series] = reason
    os.makedirs(OUTPUT, exist_ok=True)
    archive = os.path.join(OUTPUT, "initramfs")
    if paths:
        initramfs.build(archive)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        guests = {series: pool.submit(run_guest, series, path, archive) for series, path in paths.items()}
        verdicts.update((series, guest.result()) for series, guest in guests.items())
    return verdicts


def show(series, verdict):
    failed = [name for name, passed in verdict.tests.items() if not passed]
    print(f"{series}: {len(verdict.tests) - len(failed)} passed, {len(failed)} failed", flush=True)
    for name in failed:
        print(f"  failed: {name}")
    if verdict.problem:
        print(f"  {verdict.problem}")
    if failed or verdict.problem:
        with open(verdict.log, errors="replace") as file:
            print(file.read())
    return not failed and not verdict.problem


def running_costs():
    """The same of the kernel that runs here."""
    with tempfile.NamedTemporaryFile("r") as out:
        subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--tb=no", "-k", "verifier",
                        os.path.join(initramfs.ROOT, "tests", "integration", "test_kernel.py")], stdin=subprocess.DEVNULL,
                       env=dict(os.environ, BUFSCOPE_VERIFIER_OUT=out.name), stdout=subprocess.DEVNULL)
        return dict(line.split() for line in out)


def write_record(verdicts):
    rows = {".".join(os.uname().release.split(".")[:2]): running_costs()}
    for series, verdict in verdicts.items():
        rows[series] = {} if isinstance(verdict, Unavailable) else verdict.verifier
    missing = [series for series, costs in rows.items() if not costs]
    if missing:
        sys.exit(f"nothing is written: no costs of {', '.join(missing)}")
    with open(RECORD, "w") as file:
        file.write("# Instructions the verifier goes through: kernel, program, number. Written by: make verifier-record\n")
        for series in sorted(rows, key=numbers):
            file.writelines(f"{series} {program} {cost}\n" for program, cost in sorted(rows[series].items()))


def main(arguments):
    record = arguments == ["--record"]
    wanted = [] if record else arguments
    if not all(series in SERIES for series in wanted):
        sys.exit(__doc__)
    verdicts = run(wanted or SERIES)
    if record:
        write_record(verdicts)
        return 0
    good = True
    for series, verdict in verdicts.items():
        if isinstance(verdict, Unavailable):
            sys.exit(f"{series}: {verdict}")
        good &= show(series, verdict)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
