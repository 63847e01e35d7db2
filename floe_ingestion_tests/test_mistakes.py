"""A floe.yaml with one mistake: where it is, what was met and what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from floe_ingestion import load_spec
from floe_ingestion.errors import ConfigurationError, Problem
from floe_ingestion_tests.parcels import ENTRY_POINT, install

Mistakes = Callable[[str], tuple[Problem, ...]]

HUB = """
ingestion:
  sources:
    - name: hub
      type: parcels
      config:
        base_url: https://parcels.example.com
        resources: [orders, items]
      destination:
        schema: bronze
"""


@pytest.fixture(autouse=True)
def _parcels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "acme-parcels", ENTRY_POINT)
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.fixture
def mistakes(tmp_path: Path) -> Mistakes:
    def mistakes_in(text: str) -> tuple[Problem, ...]:
        (tmp_path / "floe.yaml").write_text(text)
        with pytest.raises(ConfigurationError) as caught:
            load_spec(tmp_path / "floe.yaml")
        return caught.value.problems

    return mistakes_in


@pytest.mark.parametrize(
    ("written", "path", "message"),
    [
        # Shapes
        ("", "ingestion", "is missing; write `ingestion:` with `sources:` in it"),
        ("ingestoin: {}", "ingestion", "is missing; is it what 'ingestoin' should be?"),
        ("- a", "", "is no mapping. Write sections, such as `ingestion:`"),
        ("ingestion:", "ingestion", "is empty; write a mapping (`key: value`)"),
        (
            "ingestion: {}",
            "ingestion.sources",
            "is missing; write `sources: [{name: orders, type: rest_api, …}]`",
        ),
        ("ingestion: {sources: []}", "ingestion.sources", "is an empty list; write 1 or more of them"),
        ("ingestion: {sources: {a: 1}}", "ingestion.sources", "is a mapping; write a list"),
        (
            "ingestion: {sources: [orders]}",
            "ingestion.sources[0]",
            "is a text; write a mapping (`key: value`)",
        ),
        ("plugin: {}" + HUB, "plugin", "is not read. Did you mean 'plugins'?"),
        ("plugins: {catalog: polaris}" + HUB, "plugins.catalog", "is a text; write a mapping (`key: value`)"),
        ("plugins: {catalog: {}}" + HUB, "plugins.catalog.type", "is missing; write `type: sql`"),
        # Plugins
        (
            "plugins: {storage: {type: s4}}" + HUB,
            "plugins.storage.type",
            "No storage plugin is named 's4'. Installed are 'azure' (floe-ingestion), 'gcs' (floe-ingestion), "
            "'local' (floe-ingestion), 's3' (floe-ingestion); another needs an entry point in floe.storage",
        ),
        (
            "plugins: {storage: {type: gcs, config: {token: '${T}', token-expires-at: soon}}}" + HUB,
            "plugins.storage.config.token_expires_at",
            "is a text; write a whole number",
        ),
        (
            "plugins: {catalog: {type: rest, config: {uri: '${U}', timeout: '${T}', sigv4: {}}}}" + HUB,
            "plugins.catalog.config.sigv4.region",
            "is missing; write `region: eu-central-1`",
        ),
        (
            "plugins: {catalog: {type: rest, config: {uri: 'http://x', token: $T}}}" + HUB,
            "plugins.catalog.config.token",
            "is no variable without braces. Write `${T}`; `$$T` is that text itself",
        ),
        (
            "plugins: {ingestion: {type: dlt, config: {workers: 4}}}" + HUB,
            "plugins.ingestion.config.workers",
            "is no known key: the plugin 'dlt' takes no configuration. Remove it",
        ),
    ],
)
def test_a_file_of_the_wrong_shape_is_told_what_to_write(
    mistakes: Mistakes, written: str, path: str, message: str
) -> None:
    (problem,) = mistakes(written)

    assert (problem.path, problem.message) == (path, message)


@pytest.mark.parametrize(
    ("line", "key", "message"),
    [
        # Keys of a source
        (
            "discription: x",
            "discription",
            "is no known key. Did you mean 'description'? Known keys: automation, ",
        ),
        ("enabled: 'yes'", "enabled", "is 'yes'; write true or false"),
        ("enabled: 1", "enabled", "is 1 (a whole number); write true or false"),
        ("description: no", "description", "is false (true/false); write a text: put it in quotes, 'no'"),
        ("description: 2024-01-01", "description", "a text: put it in quotes, '2024-01-01'"),
        ("group: my group", "group", "'my group' is no group. Write letters, digits and underscores"),
        ("pool: my pool", "pool", "'my pool' is no pool. Write a name without spaces"),
        (
            "owners: joe",
            "owners",
            "'joe' is no owner. Write an e-mail address, or a team such as 'team:data'",
        ),
        ("owners: [ann@example.com, 'team:']", "owners[1]", "'team:' is no owner."),
        ("tags: {tier: 1}", "tags.tier", "is 1 (a whole number); write a text: put it in quotes, '1'"),
        ("tags: {a b: x}", "tags['a b']", "'a b' is no key of a tag. Write at most 63 letters"),
        ("tags: {tier: a b}", "tags.tier", "'a b' is no value of a tag. Write at most 63 letters"),
        ("op_tags: {a b: x}", "op_tags['a b']", "'a b' is no key of a tag. Write at most 63 letters"),
        ("op_tags: {queue: [2024-01-01]}", "op_tags.queue", "holds what JSON has no word for, such as a date"),
        ("op_tags: {queue: {a: '${Q}'}}", "op_tags.queue", "holds a variable, and tags are stored before a run"),
        (
            "retry: {max_retries: -1}",
            "retry.max_retries",
            "is -1 (a whole number); write a number of 0 or more",
        ),
        ("retry: {max_retries: 1.5}", "retry.max_retries", "is 1.5 (a number); write a whole number"),
        ("retry: {backoff: expo}", "retry.backoff", "is 'expo'; write 'exponential', 'linear' or 'none'"),
        ("retry: {delay_seconds: .inf}", "retry.delay_seconds", "write a number that is finite"),
        ("schedule: {}", "schedule.cron", "is missing; write `cron: '0 6 * * *'`"),
        ("schedule: {cron: 0 6 * *}", "schedule.cron", "'0 6 * *' is no cron expression. Write five fields"),
        ("schedule: {cron: 0 25 * * *}", "schedule.cron", "has '25' for its hour. Write 0 to 23"),
        ("schedule: {cron: '@dayly'}", "schedule.cron", "'@dayly' is no cron word. Write one of @yearly"),
        ("incremental: {}", "incremental.cursor_path", "is missing; write `cursor_path: updated_at`"),
        (
            "incremental: {cursor_path: ''}",
            "incremental.cursor_path",
            "is an empty text; write a text that is not empty",
        ),
        (
            "incremental: {cursor_path: a, initial_value: [1]}",
            "incremental.initial_value",
            "is a list; write a text, ",
        ),
        ("retry: 3", "retry", "is 3 (a whole number); write a mapping, such as `retry: {max_retries: 3}`"),
        ("schedule: 0 6 * * *", "schedule", "is a text; write a mapping, such as `schedule: {cron: 0 6 * * *}`"),
        ("table: bronze.orders", "table", "is no known key. Write it inside of 'destination'. Known keys: automation,"),
        ("cron: 0 6 * * *", "cron", "is no known key. Write it inside of 'schedule' or 'automation'. Known keys: "),
        ("partitions: {type: dayly, column: c}", "partitions.type", "is 'dayly'; write 'hourly', 'daily', "),
        ("partitions: {type: daily, column: c}", "partitions", "daily partitions need a `start`"),
        ("partitions: {type: static, column: c}", "partitions", "static partitions need their `keys`"),
        ("partitions: {type: static, column: c, keys: [a, b, a]}", "partitions", "`keys` holds 'a' twice. Keep one"),
        (
            "partitions: {type: static, column: c, keys: [a], start: 2024-01-01}",
            "partitions",
            "`start` and `end` belong to partitions by time",
        ),
        (
            "partitions: {type: daily, column: c, start: 2024}",
            "partitions.start",
            "2024 is no date. Write e.g. 2024-",
        ),
        ("partitions: {type: daily, column: c, start: soon}", "partitions.start", "'soon' is no date."),
        (
            "partitions: {type: daily, column: c, start: 2024-01-31, timezone: Berlin}",
            "partitions.timezone",
            "'Berlin' is no time zone of the IANA list.",
        ),
        (
            "partitions: {type: daily, column: c, start: 2024-01-01, end: 2024-01-01}",
            "partitions",
            "the end, 2024-01-01, is not after the start, 2024-01-01. Write an `end` after the `start`",
        ),
    ],
)
def test_a_mistake_in_a_source_names_what_was_met_and_what_to_write(
    mistakes: Mistakes, line: str, key: str, message: str
) -> None:
    (problem,) = mistakes(f"{HUB}      {line}\n")

    assert problem.path == f"ingestion.sources[0].{key}"
    assert message in problem.message
    assert problem.line == 11


@pytest.mark.parametrize(
    ("type_", "keys", "message"),
    [
        (
            "uuid",
            "a",
            "`column` is 'regionId', which bronze.orders declares as uuid; partitions need a column of text,",
        ),
        ("binary", "a", "which bronze.orders declares as binary"),
        ("int", "1, eu", "`keys` holds 'eu', which is no value of 'regionId': bronze.orders declares it as int."),
        ("boolean", "true, no", "`keys` holds 'no'"),
        ("date", "2024-01-01, 2024-02-30", "`keys` holds '2024-02-30'"),
        ("timestamptz", "2024-01-01T00:00:00Z, noon", "`keys` holds 'noon'"),
        ("decimal(4, 1)", "1.5, x", "`keys` holds 'x'"),
    ],
)
def test_a_partition_that_its_column_cannot_name_is_told_at_once(
    mistakes: Mistakes, type_: str, keys: str, message: str
) -> None:
    quoted = ", ".join(f"'{key}'" for key in keys.split(", "))
    static = f"partitions: {{type: static, column: regionId, keys: [{quoted}]}}"

    (problem,) = mistakes(f"{HUB}        columns: {{region_id: '{type_}'}}\n      {static}\n")

    assert message in problem.message
    assert problem.path == "ingestion.sources[0].partitions"


def test_a_window_of_time_needs_a_column_that_can_be_compared_with_it(mistakes: Mistakes) -> None:
    daily = "partitions: {type: daily, column: at, start: 2024-01-01}"

    (problem,) = mistakes(f"{HUB}        columns: {{at: time}}\n      {daily}\n")

    assert "partitions need a column of dates, times, text or whole numbers" in problem.message


@pytest.mark.parametrize(
    ("destination", "key", "message"),
    [
        (
            "{table: bronze.a, schema: bronze}",
            "",
            "holds both `table` and `schema`. Write `table: bronze.orders` (one",
        ),
        (
            "{write_disposition: merge}",
            "",
            "holds neither `table` nor `schema`. Write `table: bronze.orders` (one",
        ),
        ("{table: orders}", ".table", "'orders' names no schema. Write `table: bronze.orders`"),
        ("{table: bronze.}", ".table", "'bronze.' is not a table with its schema."),
        (
            "{schema: 'a b'}",
            ".schema",
            "'a b' is not a schema. Write letters, digits, _ and -, such as 'bronze'",
        ),
        ("{schema: '${SCHEMA}'}", ".schema", "'${SCHEMA}' holds a variable; assets are named before a run."),
        ("{schema: s, table_prefix: a.b}", ".table_prefix", "'a.b' holds a dot."),
        ("{table: b.a, table_prefix: x}", "", "`table_prefix` goes with `schema`"),
        ("{schema: s, merge_strategy: scd2}", "", "says `merge_strategy`, and nothing is merged. Write `write_disp"),
        ("{schema: s, write_disposition: replace, hard_delete: gone}", "", "says `hard_delete`, and nothing is merged"),
        (
            "{schema: s, write_disposition: upsert}",
            ".write_disposition",
            "'upsert'; write 'append', 'replace' or",
        ),
        ("{schema: s, schema_contract: freez}", ".schema_contract", "'freez'; write 'evolve', 'freeze', "),
        (
            "{schema: s, schema_contract: {column: freeze}}",
            ".schema_contract.column",
            "Did you mean 'columns'?",
        ),
        ("{schema: s, primary_key: [[a]]}", ".primary_key[0]", "is a list; write a text"),
        ("{schema: s, columns: {a: {typ: long}}}", ".columns.a.typ", "no known key. Did you mean 'type'?"),
        ("{schem: s}", ".schem", "is no known key. Did you mean 'schema'? Known keys: columns, "),
        ("{schema: s, columns: [a]}", ".columns", "is a list; write a mapping"),
        (
            "{schema: s, columns: {a: varchar}}",
            ".columns.a",
            "'varchar' is no type of Iceberg. Write one of: boolean, int",
        ),
        ("{schema: s, columns: {a: {type: lnog}}}", ".columns.a.type", "Did you mean 'long'?"),
        ("{schema: s, columns: {a: bigint}}", ".columns.a", "Did you mean 'long'?"),
        ("{schema: s, partition_by: dya(at)}", ".partition_by", "'dya(at)' is not understood. Write a column, year"),
        ("{schema: s, partition_by: [a, 'bucket(id, 16)']}", ".partition_by[1]", "number last. Write bucket(16, id)"),
        (
            "{schema: s, partition_by: [Day(at)]}",
            ".partition_by[0]",
            "'Day(at)' is not understood. Write e.g. `day(c)`",
        ),
    ],
)
def test_a_mistake_in_a_destination_names_what_was_met_and_what_to_write(
    mistakes: Mistakes, destination: str, key: str, message: str
) -> None:
    text = HUB.replace("      destination:\n        schema: bronze\n", f"      destination: {destination}\n")
    (problem,) = mistakes(text)

    assert problem.path == f"ingestion.sources[0].destination{key}"
    assert message in problem.message


@pytest.mark.parametrize(
    ("config", "key", "message"),
    [
        ("{resources: [a]}", ".base_url", "is missing; write `base_url: https://parcels.example.com`"),
        ("{base_url: '${HUB/x', resources: [a]}", ".base_url", "holds a `${` that begins no variable. Write `${NAME}`"),
        ("{base_url: $HUB, resources: [a]}", ".base_url", "is no variable without braces. Write `${HUB}`; `$$HUB` is"),
        ("{base_url: x}", ".resources", "is missing; write `resources: …`"),
        ("{base_url: x, resources: []}", "", "names nothing to load. Name at least one resource"),
        ("{base_url: x, resources: a}", ".resources", "is a text; write a list"),
        (
            "{base_url: x, resources: [a], page_size: '${SIZE}'}",
            ".page_size",
            "A variable is a text until the run",
        ),
        (
            "{base_url: x, resources: [{nam: a}]}",
            ".resources[0].nam",
            "is no known key. Did you mean 'name'?",
        ),
        (
            "{base_url: x, resources: [{name: a, endpoint: 5}]}",
            ".resources[0].endpoint",
            "a text or a mapping",
        ),
        ("{base_url: x, resources: [{name: a, endpoint: {}}]}", ".resources[0].endpoint.path", "is missing"),
        ("{base_url: x, resources: [{name: a, table: b.c}]}", ".resources[0].table", "'b.c' holds a dot."),
        ("{base_url: x, resources: [' ']}", ".resources[0]", "has no name: an empty text is no name."),
        ("{base_url: x, resources: [a], auth: {}}", ".auth", "does not say its `type`; write `type: …`"),
        (
            "{base_url: x, resources: [a], auth: {type: berer}}",
            ".auth",
            "write 'bearer' or 'basic'. Did you mean 'b",
        ),
        (
            "{base_url: x, resources: [a], auth: {type: bearer}}",
            ".auth.token",
            "is missing; write `token: …`",
        ),
        ("{base_url: x/, resources: [a]}", "", "'x/' ends with a slash. Remove it"),
        ("text", "", "is a text; write a mapping"),
        ("", "", "is empty; write a mapping"),
    ],
)
def test_a_mistake_in_a_connectors_configuration_stands_under_config(
    mistakes: Mistakes, config: str, key: str, message: str
) -> None:
    source = f"- name: hub\n      type: parcels\n      config: {config}\n      destination: {{schema: bronze}}"
    (problem,) = mistakes(f"ingestion:\n  sources:\n    {source}\n")

    assert problem.path == f"ingestion.sources[0].config{key}"
    assert message in problem.message


def test_a_missing_key_of_a_source_is_named_with_an_example(mistakes: Mistakes) -> None:
    found = {problem.path: problem.message for problem in mistakes("ingestion: {sources: [{}]}")}

    assert found == {
        "ingestion.sources[0].name": "is missing; write `name: orders`",
        "ingestion.sources[0].type": "is missing; write `type: rest_api`",
        "ingestion.sources[0].destination": "is missing; write `destination: {schema: bronze}`",
    }


def test_an_unknown_connector_lists_the_known_ones(mistakes: Mistakes) -> None:
    (problem,) = mistakes(HUB.replace("parcels\n", "parcel\n"))

    assert problem.path == "ingestion.sources[0].type"
    assert problem.message.startswith(
        "'parcel' is no source connector. Did you mean 'parcels'? "
        "Write one of filesystem, github, google_sheets, parcels, rest_api, sql_database, stripe; "
    )


def test_a_file_that_is_not_there_says_where_one_may_be_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"floe\.yaml is not there.*`ingestion:`.*FLOE_SPEC"):
        load_spec(tmp_path / "floe.yaml")

    with pytest.raises(ConfigurationError, match="is no file"):
        load_spec(tmp_path)


def test_a_list_whose_items_are_wrong_is_not_called_too_short(mistakes: Mistakes) -> None:
    config = "{repositories: [iceberg], resources: [issues]}"
    source = f"{{name: hub, type: github, destination: {{schema: s}}, config: {config}}}"

    (problem,) = mistakes(f"ingestion: {{sources: [{source}]}}")

    assert problem.path == "ingestion.sources[0].config.repositories[0]"
