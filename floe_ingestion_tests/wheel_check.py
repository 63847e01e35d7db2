"""What a user gets who installs the wheel and nothing else. Run by `make wheel-test`, outside pytest.

python -I wheel_check.py <wheel>: isolated, so that nothing is imported from the checkout by accident.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import zipfile
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType

CHECKOUT = Path(__file__).resolve().parents[1]
ENTRY_POINTS = {
    "console_scripts": {"floe-ingestion"},
    "dagster_dg_cli.registry_modules": {"floe_ingestion"},
    "floe.ingestion": {"dlt"},
    "floe.catalogs": {"glue", "hive", "polaris", "pyiceberg", "rest", "sql"},
    "floe.storage": {"azure", "gcs", "local", "s3"},
    "floe_ingestion.sources": {"filesystem", "github", "google_sheets", "rest_api", "sql_database", "stripe"},
}


def the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    files = zipfile.ZipFile(wheel).namelist()
    folders = {name.split("/")[0] for name in files}
    dist_info = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"
    modules = {path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "floe_ingestion").rglob("*.py")}

    assert modules <= set(files), modules - set(files)
    assert folders == {"floe_ingestion", dist_info}, folders
    assert "floe_ingestion/py.typed" in files
    assert f"{dist_info}/licenses/LICENSE" in files


def every_public_name_is_there() -> None:
    package = import_module("floe_ingestion")
    assert Path(package.__file__ or "").is_relative_to(sys.prefix), package.__file__
    assert package.__version__ == metadata.version("floe-ingestion")

    for name in package.__all__:
        assert getattr(package, name) is not None, name


def importing_it_is_quick() -> None:
    heavy = "{'dagster', 'dlt', 'pyiceberg', 'pyarrow', 'sqlalchemy'}"
    output = _python(f"import sys, floe_ingestion; print(sorted({heavy} & set(sys.modules)))")
    assert output == "[]", output


def every_entry_point_loads() -> None:
    ours = metadata.distribution("floe-ingestion").entry_points
    for group, names in ENTRY_POINTS.items():
        found = {point.name for point in ours if point.group == group}
        assert names <= found, (group, found)
    for point in ours:
        loaded = point.load()
        assert callable(loaded) or isinstance(loaded, ModuleType), point


def the_command_tells_its_version() -> None:
    command = Path(sys.prefix, "bin", "floe-ingestion")
    output = subprocess.run([command, "--version"], check=True, capture_output=True, text=True).stdout
    assert output.strip().endswith(metadata.version("floe-ingestion")), output


def rows_of_sqlite_land_in_iceberg() -> None:
    from floe_ingestion import DltIngestionResource

    with sqlite3.connect("shop.db") as database:
        database.execute("create table orders (id integer primary key, item text not null)")
        database.executemany("insert into orders values (?, ?)", [(1, "ice"), (2, "snow"), (3, "sleet")])
    database.close()

    ingestion = DltIngestionResource()
    pipeline = ingestion.create_pipeline(
        "sql_database", "bronze", {"connection_string": "sqlite:///shop.db", "tables": ["orders"]}
    )
    report = ingestion.run_pipeline(pipeline)

    assert report["rows_loaded"] == 3, report
    assert report["tables_loaded"] == 1, report
    landed = ingestion.lake.connect().load_table("bronze.orders").scan().to_arrow().sort_by("id")
    assert landed.column("item").to_pylist() == ["ice", "snow", "sleet"]


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def main(wheel: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        the_wheel_holds_the_package_and_nothing_else(wheel)
        importing_it_is_quick()
        every_public_name_is_there()
        every_entry_point_loads()
        the_command_tells_its_version()
        rows_of_sqlite_land_in_iceberg()
        os.chdir(wheel.parent)
    print(f"{wheel.name}: all is there, and three rows landed.")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
