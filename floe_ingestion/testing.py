"""What a connector, or an ingestion plugin, promises, as test suites that its authors subclass; needs pytest.

class TestMyApi(SourceTests):
    @pytest.fixture
    def case(self):
        return SourceCase(type="my_api", config={"token": "${MY_TOKEN}", "resources": ["orders"]}, …)
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from floe_ingestion.errors import ConfigurationError, PermanentError, SourceUnavailable
from floe_ingestion.plugins import IngestionPlugin
from floe_ingestion.sources.registry import connector_class
from floe_ingestion.testing_case import SCHEMA, SourceCase, WindowCase, Written

_SHORTEST_KEY = 4


class SourceTests:
    """What every connector promises. Subclass it as `Test…` with a fixture `case`."""

    @pytest.fixture
    def case(self) -> SourceCase:
        """The source that is tested; to be overridden."""
        raise NotImplementedError("Write a fixture `case` that returns a SourceCase.")

    @pytest.fixture
    def written(self, case: SourceCase, tmp_path: Path) -> Written:
        """Its floe.yaml, in a folder of the test's own."""
        return Written(case, tmp_path)

    @pytest.fixture(autouse=True)
    def _asked_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # A source that does not answer is asked five times by dlt, which takes a quarter of a minute.
        monkeypatch.setenv("RUNTIME__REQUEST_MAX_ATTEMPTS", "1")

    @pytest.fixture
    def environ(self, case: SourceCase, monkeypatch: pytest.MonkeyPatch) -> None:
        """The variables of the source, set."""
        for name, value in case.environ.items():
            monkeypatch.setenv(name, value)

    # At definition time

    def test_it_is_registered_under_its_kind(self, case: SourceCase) -> None:
        assert connector_class(case.type).kind == case.type

    def test_definitions_touch_nothing(
        self, case: SourceCase, written: Written, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from floe_ingestion.definitions import build_definitions

        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise AssertionError("A definition has connected, or built.")

        for name in case.environ:
            monkeypatch.delenv(name, raising=False)
        for name in ("build", "check_connection", "key_of", "newest"):
            monkeypatch.setattr(connector_class(case.type), name, refuse)
        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)

        assert list(build_definitions(written.file(), home=written.home).assets or ())

    def test_an_unknown_key_is_a_mistake_with_a_suggestion(self, case: SourceCase, written: Written) -> None:
        key = max(connector_class(case.type).model_fields, key=len)
        assert len(key) >= _SHORTEST_KEY
        misspelled = key[:2] + key[3:]

        with pytest.raises(ConfigurationError, match=f"Did you mean '{key}'") as raised:
            written.source({misspelled: "x"})

        assert misspelled in str(raised.value)

    def test_its_resources_are_the_same_each_time(self, case: SourceCase) -> None:
        model = connector_class(case.type)
        first, second = (model.model_validate(dict(case.config)).resource_specs() for _ in range(2))

        assert first == second
        assert case.resource in [spec.name for spec in first]
        assert len({spec.name for spec in first}) == len(first)

    def test_a_connector_shows_no_secret(self, case: SourceCase, written: Written) -> None:
        assert case.environ, "Write what is secret as a variable."
        assert written.secrets_in(repr(written.connector())) == []

    # In a run

    @pytest.mark.usefixtures("environ")
    def test_rows_land_typed_and_nothing_else_does(
        self, case: SourceCase, written: Written, caplog: pytest.LogCaptureFixture
    ) -> None:
        result = written.materialize()

        table = written.table()
        types = {each.name: str(each.field_type) for each in table.schema().fields}
        assert table.scan().count() == case.rows
        assert {name: types.get(name) for name in case.columns} == dict(case.columns)
        assert written.catalog().list_tables(SCHEMA) == [table.name()]
        shown = [repr(event) for event in result.all_events]
        assert written.secrets_in(*shown, table.metadata.model_dump_json(), caplog.text) == []

    @pytest.mark.usefixtures("environ")
    def test_a_second_run_lands_nothing_twice(self, case: SourceCase, written: Written) -> None:
        written.load()
        written.load()
        assert written.table().scan().count() == case.rows
        if case.add is not None:
            more = case.add()
            written.load()
            assert written.table().scan().count() == case.rows + more

    @pytest.mark.usefixtures("environ")
    def test_a_window_is_kept(self, case: SourceCase, written: Written) -> None:
        if case.window is None:
            pytest.skip("no rows of a time")
        written.load(window=case.window)

        assert written.table().scan().count() == case.window.rows

    @pytest.mark.usefixtures("environ")
    def test_a_refusal_is_final(self, case: SourceCase, written: Written) -> None:
        assert case.refused is not None, "Write a configuration that the source refuses."
        with pytest.raises(PermanentError) as raised:
            written.load(case.refused)
        with pytest.raises(PermanentError):
            written.check(case.refused)

        assert written.secrets_in(str(raised.value)) == []

    @pytest.mark.usefixtures("environ")
    def test_no_answer_is_tried_again(self, case: SourceCase, written: Written) -> None:
        if case.unreachable is None:
            pytest.skip("nothing that could be out of reach")
        with pytest.raises(SourceUnavailable) as raised:
            written.load(case.unreachable)
        with pytest.raises(SourceUnavailable):
            written.check(case.unreachable)

        assert written.secrets_in(str(raised.value)) == []

    @pytest.mark.usefixtures("environ")
    def test_a_check_says_what_answers(self, case: SourceCase, written: Written) -> None:
        said = written.check()

        assert len(said.split()) > 1
        assert "\n" not in said
        assert written.secrets_in(said) == []


class IngestionPluginTests:
    """What every ingestion plugin promises before anything is run. Subclass it with a fixture `plugin`."""

    @pytest.fixture
    def plugin(self) -> IngestionPlugin:
        """The plugin that is tested; to be overridden."""
        raise NotImplementedError("Write a fixture `plugin` that returns an IngestionPlugin.")

    def test_it_says_what_it_is(self, plugin: IngestionPlugin) -> None:
        assert isinstance(plugin, IngestionPlugin)
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", plugin.name)
        assert re.fullmatch(r"\d+\.\d+\.\d+\S*", plugin.version)
        assert re.fullmatch(r"\d+\.\d+", plugin.floe_api_version)

    def test_its_sources_are_named_in_order(self, plugin: IngestionPlugin) -> None:
        names = plugin.list_available_sources()

        assert names
        assert names == sorted(set(names))

    def test_each_source_tells_what_its_asset_starts_from(self, plugin: IngestionPlugin) -> None:
        for name in plugin.list_available_sources():
            told = plugin.get_dagster_asset_config(name)
            assert told["source_type"] == name
            assert {"incremental_key", "write_disposition"} <= told.keys()

    def test_an_unknown_source_is_an_error_for_good(self, plugin: IngestionPlugin) -> None:
        with pytest.raises(PermanentError):
            plugin.create_pipeline("no_such_source", "bronze", {"key": "value"})
        with pytest.raises(PermanentError):
            plugin.get_dagster_asset_config("no_such_source")

    def test_its_health_can_be_asked(self, plugin: IngestionPlugin) -> None:
        assert plugin.health_check(timeout=5.0).state in ("healthy", "degraded", "unhealthy")


__all__ = ["IngestionPluginTests", "SourceCase", "SourceTests", "WindowCase"]
