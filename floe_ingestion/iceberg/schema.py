"""The columns of a table while a load is staged: as they are, and growing with what arrives.

Field ids are chosen here, offline, by the rules that the commit will apply: a load that nobody overtakes
finds its files already in their final form.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg import types as ice
from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.io import load_file_io
from pyiceberg.io.pyarrow import pyarrow_to_schema, schema_to_pyarrow
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema, assign_fresh_schema_ids
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import new_table_metadata
from pyiceberg.table.name_mapping import MappedField, NameMapping
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER

from floe_ingestion.errors import ConfigurationError, ContractBroken, KeyViolation, PermanentError, SchemaConflict
from floe_ingestion.iceberg.partition import partition_spec
from floe_ingestion.iceberg.types import carried, cast, widened
from floe_ingestion.naming import normalize_identifier
from floe_ingestion.spec import ContractMode, TableSpec

DLT_COLUMNS = frozenset({"_dlt_id", "_dlt_load_id", "_dlt_root_id", "_dlt_parent_id", "_dlt_list_idx"})
"""dlt's own bookkeeping in rows that it typed; the snapshot's summary says what they said."""


class SchemaPlan:
    """Conforms batches to the table's schema, and evolves that schema as the contract allows.

    `transaction` is one on the Iceberg table: a scratch one while staging, the real one in a commit. None
    when the load will create the table.
    """

    def __init__(self, spec: TableSpec, transaction: Transaction | None, key: Sequence[str] = ()) -> None:
        self.spec, self.key = spec, tuple(key)
        self.discarded: dict[str, int] = {}
        self._existed = transaction is not None
        self._transaction = transaction
        self._incoming: pa.Schema | None = None
        self._sources: list[int | None] = []
        self._forbidden: list[int] = []
        self._arrow: pa.Schema = pa.schema([])
        if transaction is not None:
            self._refresh_arrow()

    @classmethod
    def of_table(cls, table: Table) -> SchemaPlan:
        """For rows that are the table's own already: neither contract nor declared types apply to them again."""
        name = table.name()
        spec = TableSpec(source="", source_type="", resource="", namespace=name[:-1], name=name[-1])
        return cls(spec, table.transaction())

    @property
    def schema(self) -> Schema | None:
        """The Iceberg schema that the next batch will be written in; None before the first batch of a new table."""
        return self._transaction.table_metadata.schema() if self._transaction is not None else None

    @property
    def partition_spec(self) -> PartitionSpec | None:
        """How rows are split into files; None before the first batch of a new table."""
        return self._transaction.table_metadata.spec() if self._transaction is not None else None

    @property
    def arrow(self) -> pa.Schema:
        """The Arrow form of `schema`, with field ids."""
        return self._arrow

    def conform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """`batch` in the table's columns and types; the schema grows where it has to.

        Raises `ContractBroken`, `SchemaConflict`, `UnsupportedType` or `KeyViolation`.
        """
        if self._incoming is None or not batch.schema.equals(self._incoming):
            self.absorb(batch.schema)
        batch = self._without_forbidden_rows(batch)
        columns = [
            pa.nulls(batch.num_rows, field.type) if index is None else self._cast(batch.column(index), field)
            for index, field in zip(self._sources, self._arrow, strict=True)
        ]
        self._require_key(columns)
        return pa.RecordBatch.from_arrays(columns, schema=self._arrow)

    def absorb(self, incoming: pa.Schema) -> None:
        """Let the schema take what `incoming` brings, and remember where each column comes from."""
        positions = self._positions(incoming)
        arriving, forbidden = self._arriving(incoming, positions)
        if self._transaction is None:
            self._transaction = self._new_table(arriving)
        elif arriving:
            # `union_by_name` leaves alone what is equal already.
            with self._transaction.update_schema() as update:
                update.union_by_name(Schema(*arriving))
        self._refresh_arrow()
        rejected = {name for name, _ in forbidden}
        self._sources = [None if field.name in rejected else positions.get(field.name) for field in self._arrow]
        self._forbidden = [positions[name] for name, mode in forbidden if mode == "discard_row"]
        self._incoming = incoming

    def _positions(self, incoming: pa.Schema) -> dict[str, int]:
        positions: dict[str, int] = {}
        for index, field in enumerate(incoming):
            name = normalize_identifier(field.name)
            if name in DLT_COLUMNS:
                continue
            if name in positions:
                first = incoming.field(positions[name]).name
                raise PermanentError(
                    f"{self.spec}: the columns {first!r} and {field.name!r} both become {name!r}. "
                    f"Leave one of them out in the source, or rename it there."
                )
            positions[name] = index
        return positions

    def _arriving(
        self, incoming: pa.Schema, positions: dict[str, int]
    ) -> tuple[list[ice.NestedField], list[tuple[str, ContractMode]]]:
        """The columns to union into the schema, and those that the contract keeps out."""
        existing = {field.name: field for field in self.schema.fields} if self.schema is not None else {}
        arriving: list[ice.NestedField] = []
        forbidden: list[tuple[str, ContractMode]] = []
        for name, index in positions.items():
            type_ = self._declared(name) or _iceberg_type(name, incoming.field(index).type)
            if type_ is None:
                continue  # only nulls so far: the table's column stays null, a new one waits for its type
            met = existing.get(name)
            mode = self._verdict(name, type_, met)
            if mode != "evolve":
                forbidden.append((name, mode))
            elif met is None:
                arriving.append(ice.NestedField(-1, name, type_, required=False))
            else:
                arriving.append(ice.NestedField(-1, name, self._joined(name, met, type_), required=met.required))
        return arriving, forbidden

    def _verdict(self, name: str, type_: ice.IcebergType, met: ice.NestedField | None) -> ContractMode:
        """What the contract says to this column: `evolve` (let it in), or how to keep it out."""
        if not self._existed:
            return "evolve"  # a table that does not exist yet may always be created
        contract = self.spec.schema_contract
        if met is None:
            mode = contract.columns
        elif widened(met.field_type, type_) == met.field_type:
            return "evolve"
        else:
            mode = contract.data_type
        if mode == "freeze":
            raise ContractBroken(str(self.spec), name, str(type_))
        return mode

    def _joined(self, name: str, met: ice.NestedField, type_: ice.IcebergType) -> ice.IcebergType:
        joined = widened(met.field_type, type_)
        if joined is None:
            raise SchemaConflict(str(self.spec), name, str(met.field_type), str(type_))
        return joined

    def _declared(self, name: str) -> ice.IcebergType | None:
        column = self.spec.columns.get(name)
        return parse_type(column.type, str(self.spec), name) if column is not None and column.type else None

    def _new_table(self, arriving: list[ice.NestedField]) -> Transaction:
        schema = assign_fresh_schema_ids(new_schema(self.spec, arriving, self.key))
        metadata = new_table_metadata(
            schema=schema,
            partition_spec=partition_spec(self.spec, schema),
            sort_order=UNSORTED_SORT_ORDER,
            location="memory://planned",
        )
        return Transaction(Table(self.spec.identifier, metadata, "", load_file_io(), NoopCatalog("planned")))

    def _refresh_arrow(self) -> None:
        assert self.schema is not None
        self._arrow = schema_to_pyarrow(self.schema)

    def _without_forbidden_rows(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        for index in self._forbidden:
            kept = pc.is_null(batch.column(index))
            dropped = batch.num_rows - (pc.sum(kept).as_py() or 0)
            if dropped:
                self.discarded["contract"] = self.discarded.get("contract", 0) + dropped
                batch = batch.filter(kept)
        return batch

    def _cast(self, values: pa.Array, field: pa.Field) -> pa.Array:
        try:
            return cast(values, field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise PermanentError(
                f"{self.spec}: a value of column {field.name!r} ({values.type}) does not fit the table's "
                f"{field.type}: {error}. Declare another type for a new table, or correct the source."
            ) from error

    def _require_key(self, columns: list[pa.Array]) -> None:
        for name in self.key:
            index = self._arrow.get_field_index(name)
            if index < 0 or self._sources[index] is None:
                raise KeyViolation(
                    f"{self.spec}: rows have no column {name!r}, which is their key. "
                    f"Write `primary_key: <column>` with a column of: {', '.join(self._arrow.names)}."
                )
            if columns[index].null_count:
                raise KeyViolation(
                    f"{self.spec}: {columns[index].null_count} rows have no value in the key column {name!r}. "
                    f"Nothing was written. Correct them in the source, or choose another primary_key."
                )


def new_schema(spec: TableSpec, fields: list[ice.NestedField], key: Sequence[str]) -> Schema:
    """A schema without ids for a new table: documented columns, key columns required and identifying."""
    numbered = [
        ice.NestedField(
            number,
            field.name,
            field.field_type,
            required=field.name in key,
            doc=_description(spec, field.name),
        )
        for number, field in enumerate(fields, start=1)
    ]
    floating = [f.name for f in numbered if f.required and isinstance(f.field_type, (ice.FloatType, ice.DoubleType))]
    if floating:
        raise KeyViolation(
            f"{spec}: the key column {floating[0]!r} holds floating point numbers, which Iceberg does not take "
            f"as an identifier. Declare it as a decimal or an integer (`columns: {{{floating[0]}: long}}`)."
        )
    return Schema(*numbered, identifier_field_ids=[field.field_id for field in numbered if field.required])


def parse_type(text: str, table: str, column: str) -> ice.IcebergType:
    """The primitive Iceberg type that `text` names."""
    from pydantic import ValidationError

    compact = "".join(text.lower().split()).replace(",", ", ")
    try:
        return ice.NestedField.model_validate({"id": 1, "name": column, "type": compact, "required": False}).field_type
    except (ValidationError, ValueError) as error:
        raise ConfigurationError(
            f"{table}: column {column!r} is declared as {text!r}, which is no Iceberg type. Write one of: boolean, "
            f"int, long, float, double, decimal(p, s), date, time, timestamp, timestamptz, string, uuid, binary."
        ) from error


def _description(spec: TableSpec, column: str) -> str | None:
    declared = spec.columns.get(column)
    return declared.description if declared is not None else None


def _iceberg_type(name: str, type_: pa.DataType) -> ice.IcebergType | None:
    arrow = carried(type_, name)
    if arrow is None:
        return None
    numbers = iter(range(1, 10_000))

    def mapped(field: pa.Field) -> MappedField:
        children = [mapped(child) for child in _children(field.type)]
        return MappedField(field_id=next(numbers), names=[field.name], fields=children)

    # pyiceberg's public conversion wants ids; the ones given here are replaced when the type joins a schema.
    field = pa.field(name, arrow)
    return pyarrow_to_schema(pa.schema([field]), name_mapping=NameMapping([mapped(field)])).fields[0].field_type


def _children(type_: pa.DataType) -> list[pa.Field]:
    if pa.types.is_struct(type_):
        return list(type_)
    if pa.types.is_map(type_):
        return [type_.key_field.with_name("key"), type_.item_field.with_name("value")]
    if pa.types.is_list(type_):
        return [type_.value_field.with_name("element")]
    return []
