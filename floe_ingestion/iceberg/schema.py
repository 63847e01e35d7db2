"""The columns of a table while a load is staged: as they are, and growing with what arrives.

Field ids are chosen here, offline, by the rules that the commit will apply: a load that nobody overtakes
finds its files already in their final form.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg import types as ice
from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.io import load_file_io
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema, assign_fresh_schema_ids
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import new_table_metadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER

from floe_ingestion.errors import ContractBroken, KeyViolation, PermanentError, SchemaConflict
from floe_ingestion.formats import number_of
from floe_ingestion.iceberg.columns import declared_columns, iceberg_type, new_schema, parse_type, variant_name
from floe_ingestion.iceberg.nested import Path, holding, missing, split_new
from floe_ingestion.iceberg.partition import partition_spec
from floe_ingestion.iceberg.types import cast, widened
from floe_ingestion.naming import normalize_column
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
        self.constants: Mapping[str, pa.Scalar] = {}
        """Columns that every row of the load gets, beside the source's own."""
        self.on_reject: Callable[[pa.RecordBatch, str], None] = lambda rows, reason: None
        """Takes the rows that the contract keeps out, as they came, and why."""
        self.came_as: dict[str, str] = {}
        """What the source calls each column of the table that it has sent so far."""
        self._existed = transaction is not None
        self._transaction = transaction
        self._incoming: pa.Schema | None = None
        self._sources: list[int | None] = []
        self._forbidden: list[tuple[int, Path]] = []
        """Columns, or fields inside of them, whose rows the contract keeps out."""
        self.arrow: pa.Schema = pa.schema([])
        """The Arrow form of `schema`, with field ids."""
        if transaction is not None:
            self._refresh_arrow()

    @classmethod
    def of_table(cls, table: Table) -> SchemaPlan:
        """For rows that are the table's own already: no rule about names or types applies to them again."""
        name = table.name()
        spec = TableSpec(source="", source_type="", resource="", namespace=name[:-1], name=name[-1])
        return _OwnRows(spec, table.transaction())

    @property
    def schema(self) -> Schema | None:
        """The Iceberg schema that the next batch will be written in; None before the first batch of a new table."""
        return self._transaction.table_metadata.schema() if self._transaction is not None else None

    @property
    def partition_spec(self) -> PartitionSpec | None:
        """How rows are split into files; None before the first batch of a new table."""
        return self._transaction.table_metadata.spec() if self._transaction is not None else None

    def conform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """`batch` in the table's columns and types; the schema grows where it has to.

        Raises `ContractBroken`, `SchemaConflict`, `UnsupportedType` or `KeyViolation`.
        """
        batch = self._with_constants(batch)
        if self._incoming is None or not batch.schema.equals(self._incoming):
            self.absorb(batch.schema)
        batch = self._without_forbidden_rows(batch)
        columns = [
            pa.nulls(batch.num_rows, field.type) if index is None else self._cast(batch.column(index), field)
            for index, field in zip(self._sources, self.arrow, strict=True)
        ]
        self._require_key(columns)
        self._require_values(columns)
        return pa.RecordBatch.from_arrays(columns, schema=self.arrow)

    def absorb(self, incoming: pa.Schema) -> None:
        """Let the schema take what `incoming` brings, and remember where each column comes from."""
        positions, self._forbidden = self._positions(incoming), []
        arriving, forbidden = self._arriving(incoming, positions)
        if self._transaction is None:
            if self.spec.schema_contract.tables == "freeze":
                raise PermanentError(
                    f"{self.spec}: there is no such table, and its schema_contract (`tables: freeze`) forbids to make "
                    f"it. Make it by other means, or set `tables: evolve`."
                )
            self._transaction = self._new_table(arriving)
        elif arriving:
            # `union_by_name` leaves alone what is equal already.
            with self._transaction.update_schema() as update:
                update.union_by_name(Schema(*arriving))
        self._refresh_arrow()
        rejected = {name for name, _ in forbidden}
        self._sources = [None if field.name in rejected else positions.get(field.name) for field in self.arrow]
        self.came_as.update({name: incoming.field(index).name for name, index in positions.items()})
        self._forbidden += [(positions[name], ()) for name, mode in forbidden if mode == "discard_row"]
        self._incoming = incoming

    def _positions(self, incoming: pa.Schema) -> dict[str, int]:
        positions: dict[str, int] = {}
        # Other engines spell columns as no source of ours does; what a load stages has them all.
        known = {column.name for column in self.schema.fields} if self.schema is not None else set()
        for index, field in enumerate(incoming):
            name = field.name if field.name in known else self.spec.column(field.name)
            if name in DLT_COLUMNS and not self.spec.own_names:
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
        for field_name, index in list(positions.items()):
            name = field_name
            type_ = self._declared(name) or iceberg_type(name, incoming.field(index).type)
            if type_ is None:
                continue  # only nulls so far: the table's column stays null, a new one waits for its type
            met = existing.get(name)
            if met is not None and self._existed:
                type_ = self._without_new_fields(name, type_, met, index)
            mode = self._verdict(name, type_, met)
            if mode != "evolve":
                forbidden.append((name, mode))
                continue
            if met is not None and widened(met.field_type, type_) is None:
                name = self._variant(name, met, type_, positions)
                positions[name] = positions.pop(field_name)
                met = existing.get(name)
            joined = widened(met.field_type, type_) if met is not None else type_
            if joined is None:
                raise SchemaConflict(str(self.spec), name, str(met and met.field_type), str(type_))
            arriving.append(ice.NestedField(-1, name, joined, required=met is not None and met.required))
        return arriving, forbidden

    def _without_new_fields(
        self, name: str, type_: ice.IcebergType, met: ice.NestedField, index: int
    ) -> ice.IcebergType:
        """`type_` without what is new inside of the column, where the contract does not let that in."""
        mode = self.spec.schema_contract.columns
        if mode == "evolve":
            return type_
        known, new = split_new(met.field_type, type_)
        if mode == "freeze" and new:
            path, inner = next(iter(new.items()))
            raise ContractBroken(str(self.spec), ".".join((name, *path)), inner)
        if mode == "discard_row":
            self._forbidden += [(index, path) for path in new]
        return known

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

    def _variant(self, name: str, met: ice.NestedField, type_: ice.IcebergType, taken: Container[str]) -> str:
        """Where values go that their column cannot take; not for columns that rows are found by."""
        incremental, partitions = self.spec.incremental, self.spec.partitions
        cursor = {normalize_column(incremental.cursor_path)} if incremental is not None else set()
        window = {normalize_column(partitions.column)} if partitions is not None else set()
        variant = variant_name(name, type_)
        # Who names columns also decides about their types: a second column would hide that they changed.
        if self.spec.own_names or name in {*self.key, *cursor, *window} or met.required or variant in taken:
            raise SchemaConflict(str(self.spec), name, str(met.field_type), str(type_))
        return variant

    def _declared(self, name: str) -> ice.IcebergType | None:
        column = declared_columns(self.spec).get(name)
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
        self.arrow = schema_to_pyarrow(self.schema)

    def _with_constants(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        for name, value in self.constants.items():
            if name in batch.schema.names:
                raise PermanentError(
                    f"{self.spec}: the source has a column {name!r} of its own, which this load would add. "
                    f"Choose other names: `validity_columns: [{name}_, …]`."
                )
            batch = batch.append_column(name, pa.repeat(value, batch.num_rows))
        return batch

    def _without_forbidden_rows(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        for index, path in self._forbidden:
            forbidden = holding(batch.column(index), path)
            dropped = batch.filter(forbidden)
            if dropped.num_rows:
                self.discarded["contract"] = self.discarded.get("contract", 0) + dropped.num_rows
                name = ".".join((batch.schema.names[index], *path))
                self.on_reject(dropped, f"schema_contract: discard_row forbids column {name!r}")
                batch = batch.filter(pc.invert(forbidden))
        return batch

    def _cast(self, values: pa.Array, field: pa.Field) -> pa.Array:
        try:
            return cast(values, field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise PermanentError(
                f"{self.spec}: a value of column {field.name!r} ({values.type}) does not fit the table's "
                f"{field.type}: {error}. Declare another type for a new table, or correct the source."
            ) from error

    def _require_values(self, columns: list[pa.Array]) -> None:
        if (found := missing(columns, self.arrow)) is not None:
            raise PermanentError(
                f"{self.spec}: {number_of(found[1], 'row')} without a value in {found[0]!r}, which the table requires. "
                f"Nothing was written. Correct them in the source, or make the column optional in the table."
            )

    def _require_key(self, columns: list[pa.Array]) -> None:
        for name in self.key:
            index = self.arrow.get_field_index(name)
            absent = index < 0 or self._sources[index] is None
            if absent and self._incoming is not None and name not in self._positions(self._incoming):
                inside = any("." in each for each in self.spec.primary_key)
                raise KeyViolation(
                    f"{self.spec}: rows have no column {name!r}, which is their key. "
                    f"Write `primary_key: <column>` with a column of: {', '.join(self.arrow.names)}."
                    f"{' A value inside of a column is no key: make it a column in the source.' if inside else ''}"
                )
            if absent or columns[index].null_count:
                without = "rows" if absent else number_of(columns[index].null_count, "row")
                raise KeyViolation(
                    f"{self.spec}: {without} without a value in the key column {name!r}. Nothing was written. Correct "
                    f"them in the source, or choose another primary_key."
                )


class _OwnRows(SchemaPlan):
    """Takes rows whose columns are the table's, in its order; their names may be such as no source of ours has."""

    def conform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = [cast(values, field.type) for values, field in zip(batch.columns, self.arrow, strict=True)]
        return pa.RecordBatch.from_arrays(columns, schema=self.arrow)
