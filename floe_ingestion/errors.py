"""Every error that the library raises, and whether trying again can help.

    IngestionError
    ├── TransientError              the same run may succeed later; Dagster's retry policy applies
    │   ├── SourceUnavailable       a source timed out, refused, throttled or broke off
    │   ├── CatalogUnavailable      the Iceberg catalog or its storage did not answer
    │   ├── CommitConflict          other writers kept winning; nothing was written
    │   ├── StaleCursor             another run moved the cursor that this load started from
    │   └── OutcomeUnknown          a commit raised, and whether it landed could not be found out
    └── PermanentError              somebody has to change something first; never retried
        ├── ConfigurationError      floe.yaml, or an argument, is wrong
        │   └── MissingVariable     a ${VARIABLE} has no value
        ├── PluginError             a plugin cannot be found or used (floe_ingestion.plugins)
        ├── SourceRejected          wrong credentials, a missing table or file, a bad query
        ├── SchemaConflict          a column cannot become what the source now sends
        ├── UnsupportedType         a column whose type Iceberg has no place for
        ├── ContractBroken          schema_contract forbids what the source now sends
        ├── OtherTable              a resource sends rows to a table that is not its own
        ├── GateFailed              a load is kept on its branch, because a check marked as a gate failed
        ├── KeyViolation            a merge key is absent or null
        └── OutsideWindow           rows that do not belong to the partition being loaded

`classify.py` turns what other libraries raise into one of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


class IngestionError(Exception):
    """What all errors of this library share."""

    what_to_do: ClassVar[str] = "Read what went wrong, correct it, and run it again."
    """For whoever looks at the failed run; the message says it for the case at hand."""


class TransientError(IngestionError):
    """The same run may succeed later."""

    what_to_do = "Run it again, or re-execute it from the failure: what has landed does not land twice."


class PermanentError(IngestionError):
    """Trying again changes nothing."""

    what_to_do = "Change what the message names, then run it again; as it is, it fails each time."


class SourceUnavailable(TransientError):
    """The source did not answer, or not completely.

    `retry_after` is what the source asked for, in seconds, where it did.
    """

    what_to_do = "Look whether the source is up and answers the machine that runs this, then run it again."

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class CatalogUnavailable(TransientError):
    """The Iceberg catalog or its storage did not answer."""

    what_to_do = "Look whether the catalog and its storage are up, then run it again."


class CommitConflict(TransientError):
    """Other writers kept winning until the attempts were used up; nothing was written."""

    what_to_do = "Let fewer runs write at once (`concurrency` of the source), then run it again."

    def __init__(self, table: str, attempts: int) -> None:
        self.table, self.attempts = table, attempts
        super().__init__(
            f"{table}: other writers committed first, {attempts} times in a row, and nothing of this load "
            f"was written. Run it again, or let fewer runs write to the table at once (`pool`)."
        )


class StaleCursor(TransientError):
    """The cursor in the table is no longer the one that the load was extracted from."""

    what_to_do = "Run it again: it starts from where the other run ended."

    def __init__(self, table: str) -> None:
        self.table = table
        super().__init__(
            f"{table}: another run landed rows and moved the cursor while this one was reading, so its rows "
            f"may be in the table already. Nothing was written; the next attempt starts from the new cursor."
        )


class OutcomeUnknown(TransientError):
    """The commit raised and the catalog cannot be asked whether it landed."""

    what_to_do = "Look whether the catalog is up, then re-execute the run: it looks the load up first."

    def __init__(self, table: str, load_id: str, cause: BaseException) -> None:
        self.table, self.load_id = table, load_id
        super().__init__(
            f"{table}: the commit of load {load_id} broke off ({type(cause).__name__}) and the catalog cannot be "
            f"asked whether it landed. Its files were kept. The next attempt looks the load up before it writes."
        )


@dataclass(frozen=True)
class Problem:
    """One mistake in a file: where it is, and what to write instead."""

    path: str
    """YAML path, e.g. `ingestion.sources[0].config.base_url`."""
    message: str
    line: int | None = None


class ConfigurationError(PermanentError):
    """Configuration is wrong; `problems` lists each mistake."""

    what_to_do = "Correct what the message names, reload the code location, and run it again."

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(message)

    @classmethod
    def of_file(cls, file: str, problems: Sequence[Problem]) -> ConfigurationError:
        """All mistakes of one file as one error, in the order of its lines."""
        ordered = sorted(problems, key=lambda problem: (problem.line or 0, problem.path))
        count = "1 mistake" if len(ordered) == 1 else f"{len(ordered)} mistakes"
        lines = [f"{file} has {count}; nothing was loaded."]
        for problem in ordered:
            place = f"{file}:{problem.line}" if problem.line else file
            lines.append(f"  {place}  {problem.path or '(top level)'}: {problem.message}")
        return cls("\n".join(lines), ordered)


class MissingVariable(ConfigurationError):
    """A `${VARIABLE}` that the run needs is not set."""

    what_to_do = "Set the variable where runs are executed, then run it again."

    def __init__(self, variable: str, place: str) -> None:
        self.variable, self.place = variable, place
        super().__init__(
            f"{place}: the environment variable {variable} is not set. "
            f"Set it where the run is executed, or give a default: ${{{variable}:-value}}."
        )


class PluginError(PermanentError):
    """A plugin cannot be found, loaded or used."""

    what_to_do = "Install or configure the plugin where runs are executed, then run it again."


class SourceRejected(PermanentError):
    """The source answered, and the answer was no."""

    what_to_do = "Correct credentials, names or the query, here or in the source, then run it again."


class SchemaConflict(PermanentError):
    """A column's type in the table cannot take what the source now sends."""

    what_to_do = "Declare the type of the column under `columns`, or land the source in a new table."

    def __init__(self, table: str, column: str, existing: str, incoming: str) -> None:
        self.table, self.column, self.existing, self.incoming = table, column, existing, incoming
        super().__init__(
            f"{table}: column {column!r} is {existing} in the table and {incoming} in the source, and Iceberg "
            f"cannot turn the one into the other. Declare its type (`columns: {{{column}: {existing}}}`) so that "
            f"values are cast, or land the source in a new table."
        )


class UnsupportedType(PermanentError):
    """A source column that no Iceberg type can carry without loss."""

    what_to_do = "Cast or leave out the column in the source, or declare its type under `columns`."

    def __init__(self, column: str, met: str, instead: str) -> None:
        self.column, self.met = column, met
        super().__init__(f"Column {column!r} is of type {met}, which Iceberg cannot carry. {instead}")


class ContractBroken(PermanentError):
    """`schema_contract` is `freeze` and the source sends something new."""

    what_to_do = "Accept the change with `schema_contract: evolve`, or take it back in the source."

    def __init__(self, table: str, column: str, met: str) -> None:
        self.table, self.column = table, column
        super().__init__(
            f"{table} is frozen and the source now sends {column!r} as {met}. "
            f"Set schema_contract: evolve to accept it, or leave the column out in the source."
        )


class OtherTable(PermanentError):
    """A resource sends rows to a table that is not its own."""

    what_to_do = "Give each table a resource of its own."

    def __init__(self, table: str, resource: str, other: str) -> None:
        self.table, self.resource, self.other = table, resource, other
        super().__init__(
            f"{table}: resource {resource!r} also sends rows to {other}. One resource lands in one table: make "
            f"that a resource of its own."
        )


class GateFailed(PermanentError):
    """A load was committed on a branch of its own, and a check keeps it there; `failed` says what was found."""

    what_to_do = "Look at the rows on the branch, then publish or drop it as the message says."

    def __init__(self, table: str, branch: str, failed: Mapping[str, str]) -> None:
        self.table, self.branch, self.failed = table, branch, dict(failed)
        told = "; ".join(f"{name}: {sentence}" for name, sentence in failed.items())
        super().__init__(
            f"{table}: the load stays on the branch {branch}, and main is as it was, because of {told}. To look at it: "
            f"table.scan().use_ref({branch!r}); to publish it all the same: floe-ingestion audit publish {table} "
            f"{branch}; to drop it: floe-ingestion audit drop {table} {branch}. The next load starts from main again."
        )


class KeyViolation(PermanentError):
    """Rows cannot be merged because their key is absent or null."""

    what_to_do = "Correct the rows in the source, or choose another `primary_key`."


class OutsideWindow(PermanentError):
    """Rows whose partition column lies outside the window being loaded."""

    what_to_do = "Correct the source, or leave such rows out with `outside_window: drop`."
