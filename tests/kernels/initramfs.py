# SPDX-License-Identifier: BSD-2-Clause
"""The guest's root: Python, pytest, what was built and the integration tests, under the same paths as here.

Only copies of this machine's files, with the shared libraries that they need. No modules and no shell:
the kernel starts guest.py.
"""
import glob
import os
import subprocess
import sys
import sysconfig

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
GUEST = os.path.join(HERE, "guest.py")

# Parts of Python's library that no test uses; they are half of it.
UNUSED = {"test", "tests", "idlelib", "lib2to3", "tkinter", "ensurepip", "turtledemo", "pydoc_data"}
PROGRAMS = ("/usr/bin/env", "/usr/sbin/bpftool")
BUILT = ("bufscope", "demo-workload", "tests/standin/standin-workload", "tests/standin/plain/libstandin_tt_metal.so",
         "tests/standin/pimpl/libstandin_tt_metal.so")
SOURCES = ("docs/*.schema.json", "tests/integration/*.py", "tests/kernels/*")
LOCALE = "/usr/lib/locale/C.utf8"


def core():
    """The tests that every kernel must pass."""
    with open(os.path.join(HERE, "core.txt")) as file:
        return [line.strip() for line in file if line.strip() and not line.startswith("#")]


def tree(folder):
    for path, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in UNUSED and not name.startswith("config-")]
        yield from (os.path.join(path, name) for name in files)


def python_files():
    """The interpreter, its library, and every other module that pytest and jsonschema bring in."""
    yield os.path.realpath(sys.executable)
    yield "/usr/bin/python3"
    stdlib = sysconfig.get_path("stdlib")
    yield from tree(stdlib)
    code = "import sys, pytest, jsonschema; print('\\n'.join({name.split('.')[0] for name in sys.modules}))"
    listed = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    for folder in {path for path in sys.path if path.endswith("-packages")}:
        for name in listed.stdout.split():
            for found in glob.glob(f"{folder}/{name}") + glob.glob(f"{folder}/{name}-*-info") + glob.glob(f"{folder}/{name}.*"):
                yield from tree(found) if os.path.isdir(found) else [found]


def is_elf(path):
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def shared_libraries(files):
    out = subprocess.run(["ldd", *(path for path in files if is_elf(path))], capture_output=True, text=True).stdout
    return {word for word in out.split() if word.startswith("/") and not word.endswith(":")}


def with_parents(path, names):
    """Adds a path, its folders and what its links point to. cpio unpacks in order and follows links: folders by their real names."""
    path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    if path in names or path == "/":
        return
    with_parents(os.path.dirname(path), names)
    names.add(path)
    if os.path.islink(path):
        with_parents(os.path.join(os.path.dirname(path), os.readlink(path)), names)


def build(target):
    files = set(python_files()) | set(PROGRAMS) | set(tree(LOCALE)) | {os.path.join(BUILD, name) for name in BUILT}
    for pattern in SOURCES:
        files.update(path for path in glob.glob(os.path.join(ROOT, pattern)) if os.path.isfile(path))
    names = set()
    for path in files | shared_libraries(files) | {"/bin", "/sbin", "/lib", "/lib64"}:
        with_parents(path, names)
    listing = "\0".join(sorted(name[1:] for name in names)) + "\0"
    with open(target, "wb") as archive:
        subprocess.run(["cpio", "-0", "-o", "-H", "newc", "--quiet", "-D", "/"], input=listing.encode(), stdout=archive,
                       check=True)
