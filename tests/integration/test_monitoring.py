# SPDX-License-Identifier: BSD-2-Clause
"""docs/metrics.md, the example alerts and the dashboard say what a real scrape says."""
import json
import os
import re
import subprocess

import harness
from harness import HANG_SECONDS, ROOT, Program
from prometheus import Endpoint, Prometheus, families, parse
from service import Server

MONITORING = os.path.join(ROOT, "docs", "monitoring")
GRAFANA = {"$__rate_interval": "1m", "$__range": "5m", "$instance": ".*", "$user": ".*", "$type": ".*"}
# Of the scrape itself, not of what is scraped.
TARGET = {"job", "instance"}
OPTIONAL = "kernel.bpf_stats_enabled"


def documented():
    """name -> (type, labels, what), as docs/metrics.md has it."""
    with open(os.path.join(ROOT, "docs", "metrics.md")) as file:
        rows = re.findall(r"^\| `(bufscope_\w+)` \| (\w+) \|(.*?)\| (.*?) \|$", file.read(), re.MULTILINE)
    assert len(rows) == len({row[0] for row in rows})
    return {name: (kind, set(re.findall(r"`(\w+)`", labels)), what) for name, kind, labels, what in rows}


def filled(folder):
    """A model with something of everything, served without BPF."""
    program = Program([os.path.join(harness.BUILD, "tests", "standin", "metrics-server"), "0"], folder)
    endpoint = Endpoint.of(program)
    program.ready("serving")
    for command in ("process 1 /usr/bin/python3", "allocate 1 256 2 0 4096", "allocate 1 512 1 1 2048", "free 1 512",
                    "books 1 2 0 1000000 4096", "chip 1 0 0000:01:00.0", "process 2 /usr/bin/other",
                    "allocate 2 256 1 0 4096"):
        program.popen.stdin.write(command.encode() + b"\n")
        program.popen.stdin.flush()
        program.ready(command.split()[0])
    return endpoint


def test_metrics_md(tmp_path):
    """Every metric with its type and labels, and none that is not there."""
    server = Server(tmp_path, ["--metrics", "0"])
    real, model = Endpoint.of(server).now(), filled(tmp_path).now()
    table = documented()
    kinds = families(real)
    for name, (kind, _, what) in table.items():
        if OPTIONAL in what or "; likewise" in what:
            kinds.setdefault(name, kind)
    assert kinds == {name: row[0] for name, row in table.items()}
    seen = {sample.name: set(sample.labels) for sample in parse(real) + parse(model)}
    for sample in parse(real) + parse(model):
        assert set(sample.labels) == table[sample.name][1], sample.name
    assert {name for name, row in table.items() if OPTIONAL not in row[2] and "; likewise" not in row[2]} <= set(seen)
    with open(os.path.join(ROOT, "docs", "metrics.md")) as file:
        explained = set(re.findall(r"^\| `([a-z_]+)` \| [^|]* \|$", file.read(), re.MULTILINE))
    assert explained == set().union(*(row[1] for row in table.values()))
    server.stop()


def test_alert_rules():
    for command in ("check", "test"):
        path = os.path.join(MONITORING, "alerts.yml") if command == "check" else \
            os.path.join(ROOT, "tests", "monitoring", "alerts_test.yml")
        done = subprocess.run(["promtool", command, "rules", path], capture_output=True, text=True, timeout=HANG_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr


def expressions():
    """(where, PromQL) of the alerts, as Prometheus understood them, and of the dashboard."""
    with open(os.path.join(MONITORING, "dashboard.json")) as file:
        dashboard = json.load(file)
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
            yield variable["name"], f"count by ({label}) ({metric})"


def test_names_and_labels(tmp_path):
    """
    Each expression of alerts and dashboard is taken by a real Prometheus, names only metrics that there are, and
    selects and groups only by labels that each of its metrics has. No panel is empty that need not be.
    """
    table = documented()
    endpoint = filled(tmp_path)
    reader = Prometheus(endpoint, tmp_path, os.path.join(MONITORING, "alerts.yml"))
    reader.scraped()
    rules = [(rule["name"], rule["query"]) for group in reader.rules() for rule in group["rules"]]
    assert len(rules) >= 8
    checked, empty = 0, set()
    for where, expression in rules + list(expressions()):
        for variable, value in GRAFANA.items():
            expression = expression.replace(variable, value)
        assert "$" not in expression, (where, expression)
        if not reader.query(expression) and "[" not in expression:
            empty.add(where)
        names = set(re.findall(r"\bbufscope_\w+", expression))
        labels = {label.strip() for found in re.findall(r"\bby \(([^)]*)\)", expression) for label in found.split(",")}
        labels |= set(re.findall(r"[{,]\s*(\w+)\s*=~?", expression))
        assert names or expression.startswith("up{"), (where, expression)
        for name in names:
            assert name in table, (where, name)
            assert labels - TARGET <= table[name][1], (where, name, labels)
            checked += 1
    assert checked > 20
    # All of it is well in this model, and nothing is held: what is empty otherwise shows nothing ever.
    assert empty - {name for name, _ in rules} == {"Held after close"}
