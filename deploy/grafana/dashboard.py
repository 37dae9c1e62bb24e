#!/usr/bin/env python3
"""Makes dashboard.json with Grafana's Foundation SDK: `dashboard.py` writes it, `dashboard.py --check` says whether it is up to date.

Run it by the Python of deploy/tools, which has the SDK: "$(deploy/tools)/bin/python" deploy/grafana/dashboard.py
"""

import pathlib
import sys

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat as stats, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
)

FILE = pathlib.Path(__file__).resolve().parent / "dashboard.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")

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


def panel(builder, title, queries, unit, about):
    """A panel; `queries`: pairs of an expression and a legend."""
    builder.title(title).datasource(SOURCE).unit(unit).min(0)
    if about:
        builder.description(about)
    for place, (expr, legend) in enumerate(queries):
        query = prometheus.Dataquery().ref_id(chr(ord("A") + place)).datasource(SOURCE)
        builder.with_target(query.expr(expr).legend_format(legend))
    return builder


def stat(title, expr, unit="short", bad=None, below=False, about=""):
    """One number; it turns red from `bad` on, or below it if `below`."""
    first, then = ("red", "green") if below else ("green", "red")
    steps = [Threshold(value=None, color=first)]
    if bad is not None:
        steps.append(Threshold(value=bad, color=then))
    thresholds = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
    return panel(stats.Panel(), title, [(expr, "")], unit, about).thresholds(thresholds).span(4).height(4)


def graph(title, queries, unit="short", about=""):
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).show_legend(True)
    return panel(timeseries.Panel(), title, queries, unit, about).legend(legend).span(8).height(8)


def row(title):
    return dashboard.Row(title)


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


def variable(name, query, label):
    all_of_them = VariableOption(text="All", value="$__all")
    chosen = dashboard.QueryVariable(name).label(label).datasource(SOURCE).query(query).current(all_of_them)
    return chosen.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).multi(True).include_all(True).all_value(".*")


def board():
    made = dashboard.Dashboard("write-behind").uid("write-behind").tags(["write-behind", "kafka"])
    made.editable().refresh("10s").time("now-30m", "now")
    made.with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    made.with_variable(variable("pipeline", "label_values(write_behind_consumer_build_info, pipeline)", "Pipeline"))
    made.with_variable(variable("topic", "label_values(write_behind_consumer_route_records_total, topic)", "Topic"))
    for number, one in enumerate(PANELS, start=1):
        one.id(number)
        made.with_row(one) if isinstance(one, dashboard.Row) else made.with_panel(one)
    return made.build()


def main():
    text = JSONEncoder(sort_keys=True, indent=1, ensure_ascii=False).encode(board()) + "\n"
    if sys.argv[1:] == ["--check"]:
        if not FILE.exists() or FILE.read_text() != text:
            sys.exit("dashboard.json is not what dashboard.py makes: run it")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        FILE.write_text(text)


main()
