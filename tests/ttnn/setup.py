#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The real TT-Metal runtime for the tests: unmodified `ttnn` wheels, run on their mock device.

    setup.py python             the interpreter that would be used, or why there is none
    setup.py install VERSION... what `run` needs for these versions, from the package index
    setup.py library VERSION    prints the path of the version's runtime library (any Python will do)
    setup.py run VERSION n150|t3k [ARG...]   runs workload.py, or another file with -- FILE ARG...

Everything goes to a cache folder outside the source tree: $BUFSCOPE_CACHE, else
$XDG_CACHE_HOME/bufscope, else ~/.cache/bufscope. An installation appears there under its name only
when it is complete, and is checked before it is used, so a broken one is replaced.

Runs with the system's own Python. Only the standard library.
"""
import contextlib
import csv
import fcntl
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import make_cluster  # noqa: E402

# Wheels exist for these two; 3.10 has every version, 3.12 those from 0.65.0 on.
PYTHONS = ("3.10", "3.12")
DEPENDENCIES_OF = "0.81.1"      # what this version asks for serves the older ones too
PYTEST = "pytest==8.3.5"
NEEDED_MODULES = "numpy, loguru, networkx, graphviz, click, yaml, pandas, seaborn"


class Unavailable(Exception):
    """The real runtime cannot be used on this machine; the text says what would be needed."""


def cache_folder():
    base = os.environ.get("BUFSCOPE_CACHE")
    if not base:
        home_cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        base = os.path.join(home_cache, "bufscope")
    os.makedirs(base, exist_ok=True)
    return base


@contextlib.contextmanager
def locked():
    """One installation at a time; the lock goes with the process."""
    with open(os.path.join(cache_folder(), ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def interpreter_version(path):
    """"3.10" or so; None if it does not run (a pyenv shim of a version that is not active exists and fails)."""
    try:
        out = subprocess.run([path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True,
                             stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return out.stdout.strip() if out.returncode == 0 else None


def find_python():
    """(version, path) of the first usable interpreter."""
    for version in PYTHONS:
        candidates = []
        for folder in os.environ.get("PATH", "").split(os.pathsep):
            candidates.append(os.path.join(folder, "python" + version))
        candidates += [f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"]
        pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
        candidates += sorted(glob.glob(f"{pyenv}/versions/{version}.*/bin/python{version}"), reverse=True)
        for path in candidates:
            if os.access(path, os.X_OK) and interpreter_version(path) == version:
                return version, path
    raise Unavailable(
        "no Python 3.10 or 3.12: released ttnn wheels are built for these two only. Looked for python3.10 and "
        "python3.12 on PATH and under ~/.pyenv/versions. Ubuntu 22.04 and 24.04 have one as python3 "
        "(apt-get install python3-venv); Debian's packages have neither: build one with pyenv")


def run(command, **kwargs):
    print("+", " ".join(command), file=sys.stderr, flush=True)
    result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, **kwargs)
    if result.returncode != 0:
        raise Unavailable(f"failed with status {result.returncode}: {' '.join(command)}")


def remove(path):
    if os.path.islink(path) or os.path.isfile(path):
        os.remove(path)
    elif os.path.isdir(path):
        shutil.rmtree(path)


@contextlib.contextmanager
def fresh_folder(final):
    """A temporary folder that takes the place of @final if the block does not fail."""
    os.makedirs(os.path.dirname(final), exist_ok=True)
    temporary = tempfile.mkdtemp(prefix=os.path.basename(final) + ".tmp-", dir=os.path.dirname(final))
    try:
        yield temporary
        remove(final)
        os.rename(temporary, final)
    finally:
        if os.path.isdir(temporary):
            shutil.rmtree(temporary)


def venv_works(venv):
    python = os.path.join(venv, "bin", "python")
    if not os.access(python, os.X_OK):
        return False
    return subprocess.run([python, "-c", "import " + NEEDED_MODULES], stdin=subprocess.DEVNULL,
                          capture_output=True).returncode == 0


def dependencies():
    """(tag, interpreter) of the environment that has what ttnn imports."""
    version, base_python = find_python()
    venv = os.path.join(cache_folder(), "venv" + version.replace(".", ""))
    python = os.path.join(venv, "bin", "python")
    if venv_works(venv):
        return python_tag(version), python
    with fresh_folder(venv) as temporary:
        run([base_python, "-m", "venv", temporary])
        # Asked as "python -m pip": scripts of a renamed environment would have the wrong first line.
        run([os.path.join(temporary, "bin", "python"), "-m", "pip", "install", "--disable-pip-version-check", "-q",
             "ttnn==" + DEPENDENCIES_OF])
    if not venv_works(venv):
        raise Unavailable(f"{venv} was installed but does not work: import {NEEDED_MODULES}")
    return python_tag(version), python


def complete(folder, tag):
    """Whether it is a wheel for @tag (None: any), and every file that the wheel lists is there with its size."""
    information = glob.glob(os.path.join(folder, "ttnn-*.dist-info"))
    try:
        with open(os.path.join(*information, "WHEEL")) as wheel:
            if tag and f"Tag: {tag}-" not in wheel.read():
                return False
        record = open(os.path.join(*information, "RECORD"), newline="")
    except (OSError, TypeError):
        return False
    with record:
        for row in csv.reader(record):
            if len(row) == 3 and row[2]:
                try:
                    if os.path.getsize(os.path.join(folder, row[0])) != int(row[2]):
                        return False
                except OSError:
                    return False
    return True


def python_tag(version):
    return "cp" + version.replace(".", "")


def wheel_folder(version, tag=None):
    """The unpacked wheel, for one Python or (as a file with the library in it) for any."""
    folder = os.path.join(cache_folder(), "ttnn", version)
    if complete(folder, tag):
        return folder
    wheels = os.path.join(cache_folder(), "wheels")
    tag = tag or python_tag(PYTHONS[0])
    with fresh_folder(folder) as temporary, tempfile.TemporaryDirectory(dir=cache_folder()) as download:
        kept = glob.glob(os.path.join(wheels, f"ttnn-{version}-{tag}-*.whl"))
        if kept and zipfile.is_zipfile(kept[0]):
            wheel = kept[0]
        else:
            run([*pip(), "download", "--disable-pip-version-check", "-q", "--no-deps",
                 "--only-binary=:all:", "--python-version", tag[2:], "--implementation", "cp", "--abi", tag,
                 "--platform", "manylinux_2_34_x86_64", "--dest", download, "ttnn==" + version])
            wheel = glob.glob(os.path.join(download, "*.whl"))[0]
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(temporary)
        if not complete(temporary, tag):
            raise Unavailable(f"the wheel of ttnn {version} is not complete")
    return folder


def write_if_other(path, data):
    try:
        with open(path, "rb") as old:
            if old.read() == data:
                return
    except OSError:
        pass
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), delete=False) as new:
        new.write(data)
    os.chmod(new.name, 0o755)
    os.rename(new.name, path)


def device_compiler():
    """A copy in the cache of the stand-in compiler: installations must not point into a source tree."""
    source = os.path.join(HERE, "sfpi", "compiler", "bin", "riscv-tt-elf-g++")
    target = os.path.join(cache_folder(), "mock", "sfpi", "compiler", "bin")
    os.makedirs(target, exist_ok=True)
    with open(source, "rb") as file:
        write_if_other(os.path.join(target, "riscv-tt-elf-g++"), file.read())
    return os.path.join(cache_folder(), "mock", "sfpi")


def cluster(kind):
    path = os.path.join(cache_folder(), kind + ".yaml")
    write_if_other(path, make_cluster.KINDS[kind]().encode())
    return path


def pip():
    """A pip that can download; Debian's Python may come without."""
    for python in (sys.executable, "/usr/bin/python3", "python3"):
        try:
            if subprocess.run([python, "-m", "pip", "--version"], stdin=subprocess.DEVNULL,
                              capture_output=True).returncode == 0:
                return [python, "-m", "pip"]
        except OSError:
            continue
    raise Unavailable("no pip to fetch the ttnn wheel with (apt-get install python3-pip)")


def library(version):
    with locked():
        folder = wheel_folder(version)
    lib = os.path.join(folder, "ttnn", "build", "lib")
    path = os.path.join(lib, "libtt_metal.so")
    return path if os.path.exists(path) else os.path.join(lib, "_ttnncpp.so")


def install(version):
    """Returns (python, package folder) of a version that can be run."""
    for tool in ("clang", "ld.lld"):
        if not shutil.which(tool):
            raise Unavailable(f"{tool} is not installed: the stand-in device compiler needs it (apt-get install clang lld)")
    with locked():
        tag, python = dependencies()
        package = os.path.join(wheel_folder(version, tag), "ttnn")
        link = os.path.join(package, "runtime", "sfpi")
        compiler = device_compiler()
        if not os.path.islink(link) or os.readlink(link) != compiler:
            remove(link)
            os.symlink(compiler, link)
    return python, package


def pytest_folder(python):
    """A folder with pytest for @python: the tests' own pytest belongs to another interpreter."""
    folder = os.path.join(cache_folder(), PYTEST.replace("==", "-") + "-" + interpreter_version(python))
    with locked():
        if subprocess.run([python, "-m", "pytest", "--version"], stdin=subprocess.DEVNULL, capture_output=True,
                          env=dict(os.environ, PYTHONPATH=folder)).returncode == 0:
            return folder
        with fresh_folder(folder) as temporary:
            run([python, "-m", "pip", "install", "--disable-pip-version-check", "-q", "--target", temporary, PYTEST])
    return folder


def environment(version, kind):
    """(python, environment variables) to run a program that says `import ttnn`."""
    python, package = install(version)
    cache = cache_folder()
    home = os.path.join(cache, "home")
    os.makedirs(home, exist_ok=True)
    variables = dict(os.environ)
    variables.update({
        "HOME": home,           # the runtime keeps caches there
        "TT_METAL_HOME": package,
        "TT_METAL_RUNTIME_ROOT": package,
        "PYTHONPATH": os.path.dirname(package),
        "PYTHONNOUSERSITE": "1",
        "TT_METAL_MOCK_CLUSTER_DESC_PATH": cluster(kind),
    })
    return python, variables


def main(arguments):
    if arguments[:1] == ["python"] and len(arguments) == 1:
        print(*find_python())
    elif arguments[:1] == ["install"] and len(arguments) > 1:
        for version in arguments[1:]:
            print(*install(version))
    elif arguments[:1] == ["library"] and len(arguments) == 2:
        print(library(arguments[1]))
    elif arguments[:1] == ["run"] and len(arguments) >= 3 and arguments[2] in make_cluster.KINDS:
        python, variables = environment(arguments[1], arguments[2])
        program = arguments[3:]
        if program[:1] == ["--"]:
            program = program[1:]
        else:
            program = [os.path.join(HERE, "workload.py")] + program
        os.execve(python, [python] + program, variables)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Unavailable as reason:
        sys.exit(f"setup.py: {reason}")
