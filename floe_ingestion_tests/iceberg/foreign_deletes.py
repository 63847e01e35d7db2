"""Delete files as other engines write them: one for several data files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table

from floe_ingestion.iceberg.deletes import _PATH_ID, _POSITION_ID, _SCHEMA
from floe_ingestion.iceberg.snapshot import FileChanges, LoadSnapshot


def delete_across_files(table: Table, position: int) -> None:
    """Delete the row at `position` of every data file, by one delete file."""
    files = [task.file for task in table.scan().plan_files()]
    paths = sorted(file.file_path for file in files)
    location = table.location_provider().new_data_location("across-deletes.parquet")
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "deletes.parquet"
        pq.write_table(pa.table([paths, [position] * len(paths)], schema=_SCHEMA), local)
        size = local.stat().st_size
        with table.io.new_output(location).create() as target:
            target.write(local.read_bytes())
    delete = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=location,
        file_format=FileFormat.PARQUET,
        partition=files[0].partition,
        record_count=len(paths),
        file_size_in_bytes=size,
        column_sizes={},
        value_counts={_PATH_ID: len(paths), _POSITION_ID: len(paths)},
        null_value_counts={_PATH_ID: 0, _POSITION_ID: 0},
        nan_value_counts={},
        lower_bounds={_PATH_ID: paths[0].encode()},
        upper_bounds={_PATH_ID: paths[-1].encode()},
        key_metadata=None,
        split_offsets=None,
        equality_ids=None,
        sort_order_id=None,
    )
    delete.spec_id = files[0].spec_id
    transaction = table.transaction()
    LoadSnapshot(transaction, {}, FileChanges(added_deletes=[delete])).commit()
    transaction.commit_transaction()
