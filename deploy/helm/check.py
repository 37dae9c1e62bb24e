#!/usr/bin/env python3
"""Lints the chart, renders it, validates it against Kubernetes' schemas, and judges its configuration.

usage: check.py BINARY    with the packages of deploy/requirements.txt; BINARY is write-behind

Of the two resources that are not Kubernetes' own (KEDA's ScaledObject, the Prometheus operator's
PodMonitor) only the rendering is checked.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import helm_python
import kubernetes_validate
import yaml
from helm_python import chart as helm

CHART = pathlib.Path(__file__).resolve().parent / "write-behind"
VERSIONS = ["1.30", "1.37"]
NOT_KUBERNETES = {"ScaledObject", "PodMonitor"}

EVERYTHING = {
    "image": {"repository": "registry.example/write-behind", "tag": "1.2.3"},
    "imagePullSecrets": [{"name": "pull"}],
    "secretEnv": {"PASSWORD": "p"},
    "env": [{"name": "WRITE_BEHIND_LOG", "value": "debug"}],
    "buffersMiB": 512,
    "networkPolicy": {
        "from": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
    },
    "keda": {"enabled": True, "bootstrapServers": "kafka:9092", "consumerGroup": "scores", "topic": "scores", "authentication": "kafka"},
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "podAnnotations": {"a": "b"}, "podLabels": {"c": "d"}, "nodeSelector": {"e": "f"},
    "tolerations": [{"key": "g", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "priorityClassName": "high",
}
CASES = {
    "defaults": ({}, {"ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Service", "StatefulSet"}),
    "everything": (EVERYTHING, {"ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "PodMonitor", "ScaledObject", "Secret", "Service", "StatefulSet"}),
    "least": (
        {"networkPolicy": {"enabled": False}, "podDisruptionBudget": {"enabled": False}, "staticMembership": False, "existingSecret": "db"},
        {"ConfigMap", "Service", "StatefulSet"},
    ),
}
REFUSED = [
    {"replicas": "two"},
    {"buffersMib": 256},
    {"config": ""},
    {"terminationGracePeriodSeconds": 5},
    {"keda": {"enabled": True}},
]


def of_the_page():
    """The values that deploy/README.md installs the chart with."""
    page = (CHART.parent.parent / "README.md").read_text()
    return yaml.safe_load(page.split("```yaml\n", 1)[1].split("```", 1)[0])


def require(holds, what):
    if not holds:
        sys.exit(f"the chart: {what}")


def rendered(values):
    files = helm.Chart.load(str(CHART)).render(values, name="demo", namespace="default")
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


def judge(name, values, kinds, binary):
    report = helm.lint(str(CHART), values, strict=True, kube_version=f"v{VERSIONS[0]}.0")
    require(not report["errors"], f"{name}: lint: {report}")
    resources = rendered(values)
    require({one["kind"] for one in resources} == kinds, f"{name}: kinds {[one['kind'] for one in resources]}")
    for one in resources:
        if one["kind"] not in NOT_KUBERNETES:
            for version in VERSIONS:
                kubernetes_validate.validate(one, version, strict=True)
    [workload] = [one for one in resources if one["kind"] == "StatefulSet"]
    spec = workload["spec"]["template"]["spec"]
    [container] = spec["containers"]
    require(spec["enableServiceLinks"] is False, f"{name}: service links")
    require(spec["terminationGracePeriodSeconds"] > 26, f"{name}: less than batch.drain_time and 6 s")
    probes = [container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")]
    require(probes == ["/healthz", "/readyz"], f"{name}: probes {probes}")
    require(container["securityContext"]["readOnlyRootFilesystem"], f"{name}: it may write")
    for policy in (one for one in resources if one["kind"] == "NetworkPolicy"):
        own = {"podSelector": policy["spec"]["podSelector"]}
        require(own in policy["spec"]["ingress"][0]["from"], f"{name}: pods can't ask each other")
    lint(name, resources, container, binary)


def lint(name, resources, container, binary):
    """The configuration with the pod's variables is one that the binary takes."""
    [config] = [one for one in resources if one["kind"] == "ConfigMap"]
    variables = {one["name"]: one.get("value", "demo-write-behind-0") for one in container["env"]}
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "write-behind.toml"
        file.write_text(config["data"]["write-behind.toml"])
        variables.update(WRITE_BEHIND_CONFIG=str(file), PASSWORD="p", PATH=os.environ["PATH"])
        ended = subprocess.run([os.path.abspath(binary), "lint"], env=variables, capture_output=True, text=True)
    require(ended.returncode == 0, f"{name}: write-behind lint: {ended.stdout}{ended.stderr}")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    page = {"deploy/README.md": (of_the_page(), CASES["defaults"][1])}
    for name, (values, kinds) in (CASES | page).items():
        judge(name, values, kinds, sys.argv[1])
    for values in REFUSED:
        try:
            rendered(values)
        except helm_python.errors.HelmError:
            continue
        sys.exit(f"the chart takes {values}")
    print(f"the chart is well: {len(CASES) + 1} sets of values, Kubernetes {' and '.join(VERSIONS)}")


main()
