"""What the examples tell Kubernetes, read by Dagster's own Kubernetes launcher."""

from __future__ import annotations

import re
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import UserDefinedDagsterK8sConfig, get_user_defined_k8s_config

from floe_ingestion import build_definitions
from floe_ingestion_tests.scale.cluster import ROOT
from floe_ingestion_tests.test_docs import blocks

FLOE_YAML, DAGSTER_CLOUD = blocks(ROOT / "docs" / "scale.md", "yaml")
LARGE = {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "8Gi"}}


@pytest.fixture
def definitions(tmp_path: Path) -> dg.Definitions:
    (tmp_path / "floe.yaml").write_text(FLOE_YAML)
    return build_definitions(tmp_path / "floe.yaml")


def test_the_pods_of_a_run_and_of_a_step_get_what_the_source_asks_for(definitions: dg.Definitions) -> None:
    job = definitions.resolve_job_def("ingest_ledger")
    (step,) = job.nodes

    for tags in (job.run_tags, step.definition.tags):
        found = get_user_defined_k8s_config({"dagster-k8s/config": tags["dagster-k8s/config"]})
        assert found.container_config == {"resources": LARGE}
        assert found.pod_spec_config == {"node_selector": {"pool": "large"}}


def test_the_launcher_knows_every_key_of_dagster_cloud_yaml() -> None:
    (location,) = yaml.safe_load(DAGSTER_CLOUD)["locations"]

    context = K8sContainerContext.create_from_config(location["container_context"])

    assert location["code_source"] == {"module_name": "floe_ingestion.definitions"}
    assert context.run_k8s_config.container_config["resources"] == {"limits": {"memory": "2Gi"}}


def test_the_values_for_helm_name_this_code_location_and_what_kubernetes_knows() -> None:
    values = yaml.safe_load((ROOT / "examples" / "kubernetes" / "values.yaml").read_text())
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]

    # Raises for a key that a container or a job of Kubernetes does not have.
    config = UserDefinedDagsterK8sConfig(**{snake(key): value for key, value in launcher["runK8sConfig"].items()})

    assert config.job_spec_config == {"ttl_seconds_after_finished": 86400}
    assert deployment["dagsterApiGrpcArgs"] == ["-m", "floe_ingestion.definitions"]
    assert {mount["name"] for mount in deployment["volumeMounts"]} == {each["name"] for each in deployment["volumes"]}


def snake(key: str) -> str:
    """`runK8sConfig` writes its own keys as the chart does."""
    return re.sub("([A-Z])", lambda found: f"_{found[0].lower()}", key)
