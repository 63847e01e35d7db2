"""A floe.yaml whose steps run on Celery workers, on as many machines as there are."""

from pathlib import Path

import dagster as dg
import yaml
from dagster_celery import celery_executor

from floe_ingestion import build_definitions

HERE = Path(__file__).resolve().parent
# The workers are started with the same file, so that both speak to one broker in one way.
CELERY = yaml.safe_load((HERE / "celery.yaml").read_text("utf-8"))["execution"]["config"]

defs = dg.Definitions.merge(
    build_definitions(HERE / "floe.yaml"),
    dg.Definitions(executor=celery_executor.configured(CELERY)),
)
