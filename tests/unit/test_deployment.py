"""Dockerfile, compose.yaml, manifests, unit and citation agree with the code and with each other."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import typer
import yaml

import wideresnet

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
IMAGE = f"wideresnet:{wideresnet.__version__}"


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


@cache
def manifest(name: str) -> Any:
    return yaml.safe_load((KUBERNETES / f"{name}.yaml").read_text("utf-8"))


def options() -> set[str]:
    """The variables of ``wrn serve`` and of the package."""
    from wideresnet.cli.main import app

    serve = typer.main.get_command(app).commands["serve"]                  # type: ignore[attr-defined]
    return {f"WRN_SERVE_{parameter.name.upper()}" for parameter in serve.params} | {"WRN_CACHE", "WRN_OFFLINE"}


def routes() -> set[str]:
    return set(yaml.safe_load(read("src/wideresnet/serve/http/openapi.yaml"))["paths"])


def test_every_variable_is_one_that_the_service_reads() -> None:
    files = "Dockerfile", "compose.yaml", "deploy/kubernetes/deployment.yaml", "deploy/wrn-serve.service"
    used = {name for file in files for name in re.findall(r"\bWRN_[A-Z_]+", read(file))}
    assert used >= {"WRN_SERVE_MODEL", "WRN_SERVE_HOST", "WRN_SERVE_PORT", "WRN_SERVE_LOG", "WRN_CACHE"}
    assert used <= options()


def test_every_probe_asks_a_route_of_the_service() -> None:
    (container,) = manifest("deployment")["spec"]["template"]["spec"]["containers"]
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {probe["path"] for probe in probes.values()} <= routes()
    assert probes["readiness"]["path"] == "/v2/health/ready"
    assert probes["liveness"]["path"] == "/healthz", "a model that is loading is no reason to restart"
    assert {probe["port"] for probe in probes.values()} == {container["ports"][0]["name"]}
    (path,) = re.findall(r"'(/v2/[^']*)'", read("Dockerfile"))
    assert path in routes()
    code = re.search(r'"-c", "(.*)"\]', read("Dockerfile"))
    assert code
    ast.parse(code[1])
    assert "curl" not in read("Dockerfile")


def test_the_port_is_the_same_everywhere() -> None:
    from wideresnet.serve.settings import ServeSettings

    port = ServeSettings().port
    template = manifest("deployment")["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["ports"][0]["containerPort"] == port
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(port)
    assert manifest("service")["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    assert f"EXPOSE {port}\n" in read("Dockerfile")
    assert yaml.safe_load(read("compose.yaml"))["services"]["wrn"]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_nobody_is_root_and_nothing_but_tmp_is_written() -> None:
    (user,) = re.findall(r"^USER (\d+):\d+$", read("Dockerfile"), re.MULTILINE)
    pod = manifest("deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == int(user) > 0
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]
    service = yaml.safe_load(read("compose.yaml"))["services"]["wrn"]
    assert (service["read_only"], service["tmpfs"], service["cap_drop"]) == (True, ["/tmp"], ["ALL"])
    assert "WRN_CACHE=/tmp/" in read("Dockerfile")


def test_whoever_stops_the_service_waits_for_its_drain() -> None:
    from wideresnet.serve.settings import ServeSettings

    pod, drain = manifest("deployment")["spec"]["template"]["spec"], ServeSettings().drain
    sleep = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > sleep + drain
    assert int(yaml.safe_load(read("compose.yaml"))["services"]["wrn"]["stop_grace_period"].rstrip("s")) > drain
    (stop,) = re.findall(r"TimeoutStopSec=(\d+)", read("deploy/wrn-serve.service"))
    assert int(stop) > drain
    assert 'ENTRYPOINT ["wrn", "serve"]' in read("Dockerfile"), "a shell would not pass SIGTERM on"


def test_the_version_is_the_one_of_the_package() -> None:
    (label,) = re.findall(r'image\.version="(.*?)"', read("Dockerfile"))
    assert label == wideresnet.__version__ == yaml.safe_load(read("CITATION.cff"))["version"]
    assert manifest("deployment")["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE
    assert yaml.safe_load(read("compose.yaml"))["services"]["wrn"]["image"] == IMAGE
    tags = re.findall(r"wideresnet:\d\S+", read("docs/operations.md") + read("Dockerfile"))
    assert set(tags) == {IMAGE}


def test_the_manifests_select_the_pods_of_the_deployment() -> None:
    deployment = manifest("deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        manifest("service")["spec"]["selector"],
        manifest("pdb")["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    assert manifest("hpa")["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert manifest("pdb")["spec"]["minAvailable"] < manifest("hpa")["spec"]["minReplicas"]


def test_what_the_image_copies_is_in_its_context() -> None:
    kept = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", read("Dockerfile"), re.MULTILINE)
    assert {name for line in copied for name in line.split()} == kept
    pyproject = tomllib.loads(read("pyproject.toml"))
    needed, wheel = pyproject["project"], pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {name.split("/")[0] for name in wheel.get("force-include", {})} <= {name.split("/")[0] for name in kept}
    assert needed["readme"] in kept
    assert all(file in kept or file.startswith("src/") for file in needed["license-files"])
    assert all((ROOT / name).exists() for name in kept)


def test_the_issue_forms_are_forms() -> None:
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    for form in (yaml.safe_load(path.read_text("utf-8")) for path in forms if path.name != "config.yml"):
        assert form.keys() == {"name", "description", "labels", "body"}
        ids = [field["id"] for field in form["body"]]
        assert len(ids) == len(set(ids))
        assert {field["type"] for field in form["body"]} <= {"input", "textarea"}
        assert all(field["attributes"]["label"] for field in form["body"])
