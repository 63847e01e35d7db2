"""Google Cloud Storage and Azure Blob Storage, as emulators of this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests

from floe_ingestion_tests.integration.servers import BUCKET, free_ports

AZURITE = shutil.which("azurite-blob")
"""It is no Python package: `npm install azurite`, and its `node_modules/.bin` on the PATH."""
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of every Azurite, and no secret."""


@contextmanager
def gcs() -> Iterator[dict[str, Any]]:
    """The gcs storage's configuration for an emulator with one bucket."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    options = ["start", "--host", "127.0.0.1", "--port", str(port), "--in-memory", "--default-bucket", BUCKET]
    with _serving([str(Path(sys.executable).parent / "gcp-storage-emulator"), *options], url):
        yield {"bucket": BUCKET, "endpoint": url, "project": "floe", "token": "any"}


@contextmanager
def azure() -> Iterator[dict[str, Any]]:
    """The azure storage's configuration for an Azurite with one container."""
    from azure.storage.blob import BlobServiceClient

    assert AZURITE is not None
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/{_ACCOUNT}"
    connection = f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};BlobEndpoint={url};"
    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]
    with _serving([AZURITE, *options, "--blobHost", "127.0.0.1", "--blobPort", str(port)], url):
        BlobServiceClient.from_connection_string(connection).create_container(BUCKET)
        yield {"account": _ACCOUNT, "container": BUCKET, "connection_string": connection}


@contextmanager
def _serving(command: list[str], url: str) -> Iterator[None]:
    """With a server that answers at `url`."""
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with suppress(requests.ConnectionError):
                requests.get(url, timeout=10)
                break
            time.sleep(0.1)
        else:
            raise TimeoutError(f"{command[0]} does not answer at {url}")
        yield
    finally:
        server.terminate()
        server.wait(30)
