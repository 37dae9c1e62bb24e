#!/usr/bin/env python3
"""Makes dashboard.json: `dashboard.py` writes it, `dashboard.py --check` says whether it is up to date."""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
FILE = HERE / "dashboard.json"
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH = 24

# What the variables of the dashboard choose.
SINK = 'pipeline=~"$pipeline"'
TOPIC = 'pipeline=~"$pipeline", topic=~"$topic"'
SERVICE = 'topic=~"$topic"'


def sink(name, labels=SINK):
    return f"write_behind_consumer_{name}{{{labels}}}"


def producer(name):
    return f"write_behind_producer_{name}{{{SERVICE}}}"


def rate(series, by):
    return f"sum by ({by}) (rate({series}[$__rate_interval]))"


def quantile(q, series):
    return f"histogram_quantile({q}, sum by (le) (rate({series}[$__rate_interval])))"


def panel(kind, title, queries, unit="short", width=8, height=8, about="", **options):
    """A panel; `queries`: pairs of an expression and a legend."""
    defaults = {"unit": unit, "min": 0, **options.pop("defaults", {})}
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": SOURCE,
        "gridPos": {"w": width, "h": height},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
            for place, (expr, legend) in enumerate(queries)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }


def stat(title, expr, unit="short", bad=None, **more):
    """One number; it turns red from `bad` on, or below it if `below`."""
    below = more.pop("below", False)
    first, then = ("red", "green") if below else ("green", "red")
    steps = [{"color": first, "value": None}]
    if bad is not None:
        steps.append({"color": then, "value": bad})
    defaults = {"thresholds": {"mode": "absolute", "steps": steps}}
    return panel("stat", title, [(expr, "")], unit, 4, 4, defaults=defaults, **more)


def graph(title, queries, unit="short", **more):
    return panel("timeseries", title, queries, unit, legend={"displayMode": "list"}, **more)


def row(title):
    return {"type": "row", "title": title, "collapsed": False, "gridPos": {"w": WIDTH, "h": 1}, "panels": []}


PANELS = [
    row("Is it well?"),
    stat("Ready", f"min({sink('ready')})", bad=1, below=True, about="1 while every consumer does all of its work; /readyz says why not."),
    stat("Behind", f"sum({sink('lag_records', TOPIC)})", about="Records in the log that are not in the database."),
    stat("Oldest", f"max({sink('lag_seconds', TOPIC)})", "s", 60, about="Age of the oldest record that was read and is not in the database."),
    stat("Routes that fail", f"sum({sink('route_failing', TOPIC)})", bad=1, about="The page of the consumer has the error."),
    stat("Open dead letters", f'sum(max by (pipeline, topic) ({sink("stored_dead_letters", TOPIC + ", state=" + chr(34) + "open" + chr(34))}))', bad=1, about="write-behind dead-letters list"),
    stat("Writes lost", f"sum({producer('lost_total')})", bad=1, about="Accepted writes that failed, or whose outcome is unknown, since the services started."),
    row("Consumer"),
    graph("Records in, rows out", [
        (rate(sink("route_records_total", TOPIC), "topic"), "{{topic}} records read"),
        (rate(sink("route_written_rows_total", TOPIC), "topic"), "{{topic}} rows written"),
    ], "ops"),
    graph("Behind", [(f"sum by (topic) ({sink('lag_records', TOPIC)})", "{{topic}}")]),
    graph("Oldest", [(f"max by (topic) ({sink('lag_seconds', TOPIC)})", "{{topic}}")], "s"),
    graph("Transactions", [
        (quantile(0.5, sink("transaction_seconds_bucket")), "p50"),
        (quantile(0.99, sink("transaction_seconds_bucket")), "p99"),
    ], "s", about="batch.target_time says how long one should take."),
    graph("From a worker to the commit", [
        (quantile(0.5, sink("batch_seconds_bucket")), "p50"),
        (quantile(0.99, sink("batch_seconds_bucket")), "p99"),
    ], "s", about="Retries included."),
    graph("Records to one row", [(
        f"{rate(sink('route_written_records_total', TOPIC), 'topic')} / {rate(sink('route_written_rows_total', TOPIC), 'topic')}",
        "{{topic}}",
    )], about="How many records one written row stands for: the more, the less the database has to do."),
    graph("Failed attempts", [(rate(sink("failures_total"), "about"), "{{about}}")], "ops"),
    graph("Records set aside", [(rate(sink("route_dead_letters_total", TOPIC), "topic"), "{{topic}}")], "ops"),
    graph("Records in memory", [
        (f"sum by (instance) ({sink('buffered_bytes')})", "{{instance}} in buffers"),
        (f"sum by (instance) ({sink('in_flight_bytes')})", "{{instance}} being written"),
    ], "bytes", about="memory.buffers limits it."),
    graph("Partitions", [
        (f"sum by (instance) ({sink('partitions')})", "{{instance}} reading"),
        (f"sum by (instance) ({sink('paused_partitions')})", "{{instance}} paused"),
    ]),
    graph("Memory of the process", [('process_resident_memory_bytes{job="write-behind"}', "{{instance}}")], "bytes"),
    graph("Processor", [('rate(process_cpu_seconds_total{job="write-behind"}[$__rate_interval])', "{{instance}}")], "percentunit"),
    row("Producers"),
    graph("Writes and reads", [
        (rate(producer("writes_total"), "topic"), "{{topic}} writes"),
        (rate(producer("reads_total"), "topic"), "{{topic}} reads"),
    ], "ops"),
    graph("Reads by where they were answered", [
        (rate(producer("hits_pending_total"), "topic"), "{{topic}} pending writes"),
        (rate(producer("hits_cached_total"), "topic"), "{{topic}} cache"),
        (rate(producer("misses_total"), "topic"), "{{topic}} loader, or nothing"),
    ], "ops"),
    graph("Time of a write", [
        (quantile(0.5, producer("write_sampled_seconds_bucket")), "p50"),
        (quantile(0.99, producer("write_sampled_seconds_bucket")), "p99"),
    ], "s", about="Until it is accepted; every 64th is measured."),
    graph("Pending", [(f"sum by (instance) ({producer('pending_bytes')})", "{{instance}}")], "bytes", about="max_pending limits it."),
    graph("Oldest write", [
        (f"max by (instance) ({producer('replicated_lag_seconds')})", "{{instance}} not replicated"),
        (f"max by (instance) ({producer('persisted_lag_seconds')})", "{{instance}} not in the database"),
    ], "s"),
    graph("No room, or refused", [
        (rate(producer("overloaded_total"), "instance"), "{{instance}} no room"),
        (rate(producer("refused_total"), "instance"), "{{instance}} refused"),
        (f"sum by (instance) ({producer('held_partitions')})", "{{instance}} partitions held"),
    ]),
]


def place(panels):
    """Gives each panel its number and its place: from left to right, then down."""
    x = y = tallest = 0
    for number, one in enumerate(panels, start=1):
        size = one["gridPos"]
        if x + size["w"] > WIDTH:
            x, y, tallest = 0, y + tallest, 0
        one["id"] = number
        size.update(x=x, y=y)
        x, tallest = x + size["w"], max(tallest, size["h"])
    return panels


def variable(name, query, label):
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "query": query, "refresh": 2,
        "multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"},
    }


def dashboard():
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return {
        "uid": "write-behind",
        "title": "write-behind",
        "tags": ["write-behind", "kafka"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [
            source,
            variable("pipeline", "label_values(write_behind_consumer_build_info, pipeline)", "Pipeline"),
            variable("topic", "label_values(write_behind_consumer_route_records_total, topic)", "Topic"),
        ]},
        "annotations": {"list": []},
        "panels": place(PANELS),
    }


def main():
    text = json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"
    if sys.argv[1:] == ["--check"]:
        if not FILE.exists() or FILE.read_text() != text:
            sys.exit("dashboard.json is not what dashboard.py makes: run deploy/grafana/dashboard.py")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        FILE.write_text(text)


main()
