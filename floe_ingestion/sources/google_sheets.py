"""Sheets and ranges of a Google spreadsheet, one table each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from floe_ingestion.classify import source_errors
from floe_ingestion.formats import Count, Flag, number_of
from floe_ingestion.sources.base import Extraction, ResourceSpec, SourceConnector, Usual, named
from floe_ingestion.sources.google_login import ServiceAccount, is_json
from floe_ingestion.sources.json_api import ApiUrl, JsonApi, message_of
from floe_ingestion.sources.sheet_ranges import Area, area_of, spreadsheet_id

if TYPE_CHECKING:
    import pyarrow as pa
    from dlt.extract.resource import DltResource
    from requests import Response

_OUTLINE = "properties(title,timeZone),sheets.properties(title,sheetId,gridProperties),namedRanges(name,range)"
_CELLS = "sheets.data(rowData.values(effectiveValue,effectiveFormat.numberFormat))"

Grid = list[list[Any]]


class SheetResource(ResourceSpec):
    """One sheet or range."""

    range: str | None = Field(default=None, min_length=1, examples=["Orders!A1:F"])
    """A sheet's title, a named range, or a range such as `Orders!A1:F`; the resource's name where absent."""
    header: Flag = True
    """Whether the first row that is not empty holds the names of the columns."""
    column_names: tuple[str, ...] = ()
    """Names of the columns, from the left; instead of those of the header, or where there is none."""
    null_values: tuple[str, ...] = ("",)
    """Texts that mean nothing."""
    on_cell_error: Literal["raise", "empty"] = "raise"
    """What a formula without a value (#N/A, #DIV/0!) means: a mistake, or an empty cell."""

    @property
    def usual(self) -> Usual:
        return Usual(write_disposition="replace")


class GoogleSheetsConnector(SourceConnector):
    """`type: google_sheets`.

    A sheet is read as a whole and, unless told otherwise, takes the place of all rows of its table. Share the
    spreadsheet with the service account's e-mail address.
    """

    kind: ClassVar[str] = "google_sheets"
    kinds: ClassVar[tuple[str, ...]] = ("googlesheets",)
    extra: ClassVar[str | None] = "google-sheets"

    spreadsheet: str = Field(min_length=1, examples=["https://docs.google.com/spreadsheets/d/…"])
    """Its id, or its URL."""
    credentials: str = Field(min_length=1, repr=False, examples=["${GOOGLE_SERVICE_ACCOUNT}"])
    """The JSON of a service account's key, or the path of its file (relative to floe.yaml)."""
    resources: tuple[Annotated[SheetResource, BeforeValidator(named)], ...] = Field(min_length=1, examples=["[Sheet1]"])
    """Which sheets and ranges to load."""
    base_url: ApiUrl = "https://sheets.googleapis.com/v4"
    max_wait_seconds: Count = 300
    """How long a request waits for a quota to be there again. After that the run fails and is tried again later."""

    @field_validator("spreadsheet")
    @classmethod
    def _its_id(cls, value: str) -> str:
        found = spreadsheet_id(value)
        if "${" not in found and "/" in found:
            raise ValueError(
                f"{value!r} is no spreadsheet. Write its id, or https://docs.google.com/spreadsheets/d/<id>"
            )
        return found

    def resource_specs(self) -> tuple[ResourceSpec, ...]:
        return self.resources

    def relative_to(self, folder: Path) -> GoogleSheetsConnector:
        if is_json(self.credentials):
            return self
        path = Path(folder).expanduser().resolve() / Path(self.credentials).expanduser()
        return self.model_copy(update={"credentials": str(path)})

    def build(self, extractions: Sequence[Extraction]) -> Mapping[str, DltResource]:
        return {extraction.table.resource: self._resource(extraction) for extraction in extractions}

    def check_connection(self) -> str:
        with source_errors("google_sheets"):
            outline = self._outline(self._api(attempts=1))
            for resource in self.resources:
                area_of(resource.range or resource.name, outline)
        sheets = number_of(len(outline["sheets"]), "sheet")
        return f"{self.base_url} answers, with {sheets} of {outline['properties']['title']!r}"

    def _resource(self, extraction: Extraction) -> DltResource:
        import dlt

        from floe_ingestion.sources.sheet_tables import cursor_of, table_of

        resource = next(each for each in self.resources if each.name == extraction.table.resource)

        def table() -> Iterator[pa.Table]:
            api = self._api()
            outline = self._outline(api)
            area = area_of(resource.range or resource.name, outline)
            yield table_of(self._cells(api, area), area, resource, extraction, outline["properties"]["timeZone"])

        made: DltResource = dlt.resource(table, name=resource.name)
        if (cursor := cursor_of(extraction)) is not None:
            made.add_step(cursor)
        return made

    def _outline(self, api: JsonApi) -> dict[str, Any]:
        outline: dict[str, Any] = api.ask(f"spreadsheets/{self.spreadsheet}", {"fields": _OUTLINE}).json()
        return outline

    def _cells(self, api: JsonApi, area: Area) -> Grid:
        """The values of an area, row by row; rows and cells at the ends may be absent."""
        from floe_ingestion.sources.sheet_cells import value_of

        grid: Grid = []
        for begins, part in area.parts():
            answer = api.ask(f"spreadsheets/{self.spreadsheet}", {"ranges": part, "fields": _CELLS}).json()
            grid += [[] for _ in range(begins - len(grid))]
            for sheet in answer.get("sheets", ()):
                for data in sheet.get("data", ()):
                    grid += [[value_of(cell) for cell in row.get("values", ())] for row in data.get("rowData", ())]
        return grid

    def _api(self, attempts: int | None = None) -> JsonApi:
        login = ServiceAccount(self.credentials)

        def advice(response: Response) -> str:
            if response.status_code == 403 and "disabled" in message_of(response):
                return "Switch the Google Sheets API on in the service account's project."
            if response.status_code == 403:
                return f"Share the spreadsheet with {login.email}."
            if response.status_code == 404:
                return f"There is no spreadsheet {self.spreadsheet}. Check its id."
            return ""

        return JsonApi(self.base_url, login, advice, self.max_wait_seconds, attempts=attempts)
