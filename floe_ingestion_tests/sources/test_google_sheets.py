"""What a google_sheets source promises, asked of a Google Sheets on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from floe_ingestion.errors import ConfigurationError, IngestionError, SourceRejected, SourceUnavailable
from floe_ingestion.pipeline import IngestionPipeline
from floe_ingestion.secrets import redact
from floe_ingestion.sources.google_sheets import GoogleSheetsConnector
from floe_ingestion.sources.sheet_ranges import area_of, letters
from floe_ingestion_tests.http_server import Answer
from floe_ingestion_tests.lake import Lake, Row
from floe_ingestion_tests.sources.fake_sheets import EMAIL, ID, Broken, FakeSheets, Shown, refusal, sheets
from floe_ingestion_tests.sources.landed import pipeline, source_of

UTC = timezone.utc
Made = Callable[..., IngestionPipeline]
ORDERS = [["id", "Amount"], [1, 2.5], [2, 3.0]]


@pytest.fixture
def book() -> Iterator[FakeSheets]:
    with sheets() as book:
        yield book


@pytest.fixture
def made(tmp_path: Path, book: FakeSheets) -> Made:
    """The pipeline of a source with one resource, `orders`; of the sheet of that name unless said otherwise."""

    def make(source: dict[str, Any] | None = None, config: dict[str, Any] | None = None, **resource: Any) -> Any:
        given = {"base_url": book.url, "spreadsheet": ID, "credentials": book.key(), **(config or {})}
        given["resources"] = [{"name": "orders", **resource}]
        return pipeline(tmp_path, "google_sheets", given, **(source or {}))

    return make


def landed(lake: Lake, pipeline: IngestionPipeline) -> list[Row]:
    lake.load(pipeline)
    return lake.rows("bronze.orders")


def types(lake: Lake) -> dict[str, str]:
    return {field.name: str(field.field_type) for field in lake.table("bronze.orders").schema().fields}


# What lands


def test_a_sheet_takes_the_place_of_its_table(book: FakeSheets, lake: Lake, made: Made) -> None:
    book.sheets["orders"] = ORDERS
    lake.load(made())
    book.sheets["orders"] = [["id", "Amount"], [1, 2.5], [3, 4.5]]

    assert landed(lake, made()) == [{"id": 1, "amount": 2.5}, {"id": 3, "amount": 4.5}]
    assert types(lake) == {"id": "long", "amount": "double"}


def test_types_follow_from_all_cells_and_their_formats(book: FakeSheets, lake: Lake, made: Made) -> None:
    columns: dict[str, list[Any]] = {
        "whole": [1, 2],
        "money": [Shown(10.0, "CURRENCY"), Shown(11.0, "NUMBER", "0.00")],
        "percent": [Shown(0.5, "PERCENT"), None],
        "mixed": [1, "n/a"],
        "yes": [True, False],
        "day": [date(2024, 2, 29), date(1900, 1, 1)],
        "at": [None, Shown(45322.4274305555, "DATE_TIME")],  # as many digits as a spreadsheet keeps
        "clock": [time(9, 30), time(23, 59, 59)],
        "zip": ["01067", 10115],
        "long": [2.0**40, 3],
        "days_and_times": [date(2024, 1, 1), datetime(2024, 1, 1, 12)],
    }
    book.sheets["orders"] = [list(columns), *map(list, zip(*columns.values(), strict=True))]

    assert landed(lake, made()) == [
        {
            "whole": 1,
            "money": 10.0,
            "percent": 0.5,
            "mixed": "1",
            "yes": True,
            "day": date(2024, 2, 29),
            "at": None,
            "clock": time(9, 30),
            "zip": "01067",
            "long": 2**40,
            "days_and_times": datetime(2024, 1, 1),
        },
        {
            "whole": 2,
            "money": 11.0,
            "percent": None,
            "mixed": "n/a",
            "yes": False,
            "day": date(1900, 1, 1),
            "at": datetime(2024, 1, 31, 10, 15, 30),
            "clock": time(23, 59, 59),
            "zip": "10115",
            "long": 3,
            "days_and_times": datetime(2024, 1, 1, 12),
        },
    ]


def test_declared_types_win(book: FakeSheets, lake: Lake, made: Made) -> None:
    book.sheets["orders"] = [
        ["Id", "price", "at", "phone", "day"],
        [1, 19.99, datetime(2024, 7, 1, 12), 4915112345678, "2024-01-31"],
        ["2", "20", "2024-07-01T12:00:00Z", "n/a", None],
    ]
    columns = {"Id": "long", "price": "decimal(10, 2)", "at": "timestamptz", "phone": "string", "day": "date"}

    assert landed(lake, made(columns=columns, null_values=["", "n/a"])) == [
        {
            "id": 1,
            "price": Decimal("19.99"),
            "at": datetime(2024, 7, 1, 10, tzinfo=UTC),  # the spreadsheet's zone is Berlin's
            "phone": "4915112345678",
            "day": date(2024, 1, 31),
        },
        {"id": 2, "price": Decimal("20.00"), "at": datetime(2024, 7, 1, 12, tzinfo=UTC), "phone": None, "day": None},
    ]


def test_a_column_keeps_the_type_that_the_table_has(book: FakeSheets, lake: Lake, made: Made) -> None:
    book.sheets["orders"] = [["amount", "code"], [1.5, "a1"]]
    lake.load(made())
    book.sheets["orders"] = [["amount", "code"], [2, 17]]

    assert landed(lake, made()) == [{"amount": 2.0, "code": "17"}]


def test_empty_rows_and_columns_are_no_data_and_ragged_rows_end_in_nulls(
    book: FakeSheets, lake: Lake, made: Made
) -> None:
    book.sheets["orders"] = [[], [None, "a", None, "b", "empty"], [], [None, 1], ["", None, "", 2], [None, 3, None, 4]]

    assert landed(lake, made()) == [{"a": None, "b": 2}, {"a": 1, "b": None}, {"a": 3, "b": 4}]


def test_names_that_are_missing_or_equal_are_made_up(book: FakeSheets, lake: Lake, made: Made) -> None:
    book.sheets["orders"] = [["Name", "name", None, 2024, "NAME"], ["a", "b", "c", "d", "e"]]

    assert landed(lake, made()) == [{"name": "a", "name_2": "b", "column_c": "c", "_2024": "d", "name_3": "e"}]


def test_names_are_those_that_floe_yaml_means(book: FakeSheets, lake: Lake, made: Made) -> None:
    book.sheets["orders"] = [["Ship__To"], [1]]

    assert landed(lake, made(columns={"Ship__To": "string"}, primary_key="Ship__To")) == [{"ship__to": "1"}]


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"header": False}, [{"column_a": "id", "column_b": "Amount"}, {"column_a": "1", "column_b": "2.5"}]),
        ({"header": False, "column_names": ["x", "y"]}, [{"x": "id", "y": "Amount"}, {"x": "1", "y": "2.5"}]),
        ({"column_names": ["x", "y"]}, [{"x": 1, "y": 2.5}]),
    ],
)
def test_the_names_of_columns_can_be_given(
    book: FakeSheets, lake: Lake, made: Made, options: dict[str, Any], rows: list[Row]
) -> None:
    book.sheets["orders"] = ORDERS[:2]

    assert sorted(landed(lake, made(**options)), key=str, reverse=len(rows) > 1) == rows


def test_a_range_is_what_lands(book: FakeSheets, lake: Lake, made: Made) -> None:
    book.sheets |= {"other": [["nothing"]], "It's here": [[], [None, "id", "b"], [None, 1], [None, 2], [None, 3]]}
    book.named["last_ones"] = {"sheetId": 1, "startRowIndex": 3, "endRowIndex": 5, "startColumnIndex": 1}
    lake.load(made(range="last_ones", column_names=["id"], header=False))

    assert lake.values("bronze.orders") == [2, 3]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("It's here", ["'It''s here'!A1:Z1000"]),
        ("'It''s here'!B2:C", ["'It''s here'!B2:C1000"]),
        ("It's here!b2:C4", ["'It''s here'!B2:C4"]),
        ("It's here!B:B", ["'It''s here'!B1:B1000"]),
        ("It's here!C7", ["'It''s here'!C7:C7"]),
        ("It's here!2:4", ["'It''s here'!A2:Z4"]),
        ("It's here!A1:AZ9999", ["'It''s here'!A1:Z1000"]),
        ("last_ones", ["'It''s here'!B4:C5"]),
        ("other", ["'other'!A1:Z1000"]),
    ],
)
def test_a_range_may_be_a_sheet_a_named_range_or_cells(text: str, parts: list[str]) -> None:
    grid = {"rowCount": 1000, "columnCount": 26}
    numbers = {"startRowIndex": 3, "endRowIndex": 5, "startColumnIndex": 1, "endColumnIndex": 3}
    spreadsheet = {
        "sheets": [
            {"properties": {"title": "other", "gridProperties": grid}},
            {"properties": {"title": "It's here", "sheetId": 7, "gridProperties": grid}},
        ],
        "namedRanges": [{"name": "last_ones", "range": {"sheetId": 7, **numbers}}],
    }

    assert [part for _, part in area_of(text, spreadsheet).parts()] == parts


def test_a_large_sheet_is_read_in_parts(book: FakeSheets, lake: Lake, made: Made) -> None:
    book.rows = 9000
    book.sheets["orders"] = [
        ["id"],
        *([number] for number in range(4000)),
        [],
        *([number] for number in range(4000, 8000)),
    ]
    lake.load(made())

    assert lake.values("bronze.orders") == list(range(8000))
    assert [asked.params.get("ranges") for asked in book.asked] == [
        None,
        "'orders'!A1:Z3846",
        "'orders'!A3847:Z7692",
        "'orders'!A7693:Z9000",
    ]


def test_a_cursor_brings_the_new_rows_only(book: FakeSheets, lake: Lake, made: Made) -> None:
    book.sheets["orders"] = [["id", "At"], [1, datetime(2024, 1, 1)], [2, datetime(2024, 1, 2)]]
    source = {
        "incremental": {"cursor_path": "At", "initial_value": "2024-01-02"},
        "destination": {"schema": "bronze", "write_disposition": "append"},
    }
    lake.load(made(source))
    book.sheets["orders"].append([3, datetime(2024, 1, 3)])
    lake.load(made(source))

    assert lake.values("bronze.orders") == [2, 3]


def test_a_sheet_without_rows_makes_a_table_of_the_declared_columns(book: FakeSheets, lake: Lake, made: Made) -> None:
    book.sheets["orders"] = [["id", "note"]]

    assert landed(lake, made(columns={"id": "long", "note": "string"})) == []
    assert types(lake) == {"id": "long", "note": "string"}


def test_a_sheet_without_rows_has_none_that_are_new(book: FakeSheets, lake: Lake, made: Made) -> None:
    book.sheets["orders"] = [["id", "At"]]
    source = {"incremental": {"cursor_path": "At"}, "destination": {"schema": "bronze", "write_disposition": "append"}}

    lake.load(made(source, columns={"id": "long"}))

    assert lake.values("bronze.orders") == []


# What cannot land


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        (
            [["id"], [1], ["x"]],
            {"columns": {"id": "long"}},
            "'orders'!A3 holds 'x', and the column 'id' is declared long",
        ),
        ([["id"], [1], [1.5]], {"columns": {"id": "long"}}, "'orders'!A3 holds 1.5"),
        ([["id"], [1 << 40]], {"columns": {"id": "int"}}, "'orders'!A2 holds 1099511627776"),
        ([["id", "b"], [1, Broken()]], {}, r"'orders'!B2 holds a formula without a value \(DIVIDE_BY_ZERO\)"),
        ([["id"], [1, 2]], {"column_names": ["id"]}, "'orders'!B1 holds a value, and `column_names` names 1 column"),
        ([["id"], [1]], {"range": "oders"}, "no 'oders'. Did you mean 'orders'?"),
    ],
)
def test_a_mistake_in_a_sheet_names_the_cell(
    book: FakeSheets, lake: Lake, made: Made, rows: list[list[Any]], options: dict[str, Any], said: str
) -> None:
    book.sheets["orders"] = rows

    with pytest.raises(SourceRejected, match=said):
        lake.load(made(**options))


def test_a_cell_is_named_right_behind_a_gap_that_parts_answers(book: FakeSheets, lake: Lake, made: Made) -> None:
    book.rows = 9000
    book.sheets["orders"] = [["id"], [1], *([] for _ in range(4997)), [Broken()]]

    with pytest.raises(SourceRejected, match="'orders'!A5000 holds a formula without a value"):
        lake.load(made())


def test_a_formula_without_a_value_can_mean_nothing(book: FakeSheets, lake: Lake, made: Made) -> None:
    book.sheets["orders"] = [["id", "b"], [1, Broken("N_A")], [2, 5]]

    assert landed(lake, made(on_cell_error="empty")) == [{"id": 1, "b": None}, {"id": 2, "b": 5}]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            refusal(403, "The caller does not have permission", "PERMISSION_DENIED"),
            f"Share the spreadsheet with {EMAIL}",
        ),
        (refusal(403, "API has not been used before or it is disabled.", "PERMISSION_DENIED"), "Switch the Google"),
        (refusal(404, "Requested entity was not found.", "NOT_FOUND"), f"There is no spreadsheet {ID}"),
    ],
)
def test_a_refusal_says_what_to_do(book: FakeSheets, lake: Lake, made: Made, answer: Answer, said: str) -> None:
    book.server.refusals = [answer]

    with pytest.raises(SourceRejected, match=said):
        lake.load(made())


def test_a_quota_is_waited_for(book: FakeSheets, lake: Lake, made: Made) -> None:
    book.sheets["orders"] = ORDERS
    book.server.refusals = [refusal(429, "Quota exceeded for quota metric 'Read requests'", "RESOURCE_EXHAUSTED")]
    lake.load(made())

    assert lake.values("bronze.orders") == [1, 2]


def test_a_quota_that_lasts_sends_the_run_away(book: FakeSheets, lake: Lake, made: Made) -> None:
    book.server.refusals = [refusal(429, "Quota exceeded", "RESOURCE_EXHAUSTED")]

    with pytest.raises(SourceUnavailable, match="the rate limit is used up"):
        lake.load(made(config={"max_wait_seconds": 0}))


# Logging in


def test_a_key_may_stand_in_a_file_beside_floe_yaml(book: FakeSheets, lake: Lake, made: Made, tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text(book.key())
    book.sheets["orders"] = ORDERS
    lake.load(made(config={"credentials": "key.json"}))

    assert lake.values("bronze.orders") == [1, 2]
    assert "ya29.1" not in redact("the token ya29.1")


def spoiled(key: str, **values: Any) -> str:
    return json.dumps({**json.loads(key), **values})


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        (lambda key: "absent.json", r"cannot be read \(No such file or directory\)"),
        (lambda key: "{", "is no JSON"),
        (lambda key: "{}", "is no key of a service account"),
        (lambda key: spoiled(key, private_key="s3cret key"), "its private key is none"),
        (lambda key: spoiled(key, private_key_id="x", token_uri="http://127.0.0.1:9/token"), "gives no token"),
    ],
)
def test_a_key_that_will_not_do_is_told_without_it(
    lake: Lake, book: FakeSheets, made: Made, credentials: Callable[[str], str], said: str
) -> None:
    with pytest.raises(IngestionError, match=said) as raised:
        lake.load(made(config={"credentials": credentials(book.key())}))

    assert "s3cret" not in str(raised.value)
    assert "PRIVATE" not in str(raised.value)


def test_a_key_that_google_does_not_know_is_final(lake: Lake, book: FakeSheets, made: Made) -> None:
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric import rsa

    other = rsa.generate_private_key(65537, 2048)
    private = other.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()).decode()

    with pytest.raises(SourceRejected, match=f"Google gives {EMAIL} no token: invalid_grant: Invalid JWT Signature"):
        lake.load(made(config={"credentials": spoiled(book.key(), private_key=private)}))


def test_a_check_says_what_answers(book: FakeSheets) -> None:
    book.sheets["orders"] = ORDERS
    url = f"https://docs.google.com/spreadsheets/d/{ID}/edit#gid=0"
    given = {"base_url": book.url, "spreadsheet": url, "credentials": book.key()}

    assert GoogleSheetsConnector(**given, resources=["orders"]).check_connection() == (
        f"{book.url} answers, with 1 sheet of 'Shop'"
    )
    with pytest.raises(SourceRejected, match="The spreadsheet has no 'oders'"):
        GoogleSheetsConnector(**given, resources=["oders"]).check_connection()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"spreadsheet": "https://docs.google.com/document/d/x"}, "is no spreadsheet"),
        ({"resources": [{"name": "a", "rnge": "A1"}]}, "Did you mean 'range'?"),
        ({"credentails": "x"}, "Did you mean 'credentials'?"),
        ({"resources": [{"name": "a", "header": "yes"}]}, "header"),
    ],
)
def test_a_mistake_is_told_with_what_to_write(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        source_of(tmp_path, "google_sheets", {"spreadsheet": ID, "credentials": "${KEY}", "resources": ["a"], **config})

    assert said in str(raised.value)


def test_columns_are_lettered_as_in_a_sheet() -> None:
    assert [letters(number) for number in (0, 25, 26, 51, 52, 701, 702)] == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]


def test_without_google_auth_it_says_what_to_install(book: FakeSheets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.oauth2", None)
    made = GoogleSheetsConnector(base_url=book.url, spreadsheet=ID, credentials=book.key(), resources=["orders"])

    with pytest.raises(ConfigurationError, match=r"pip install 'floe-ingestion\[google-sheets\]'"):
        made.check_connection()
