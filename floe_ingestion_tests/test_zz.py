import pyarrow as pa, pyarrow.parquet as pq, pytest
from floe_ingestion_tests.iceberg.loads import *
from floe_ingestion_tests.fake_sources import *
ROW={"id":1,"tags":["a"],"addr":{"street":"x","no":1},"m":[{"a":1}]}
@pytest.mark.parametrize("contract",["freeze","discard_value","discard_row"])
def test_nested(lake,contract):
    load(lake,table_spec(),[ROW])
    s=table_spec(schema_contract={"columns":contract,"data_type":contract})
    load(lake,s,[{**ROW,"id":2}])
    load(lake,s,[{"id":3,"tags":["b"],"addr":{"street":"y"},"m":[]}])
    print(lake.rows("raw.numbers"))
    assert lake.values("raw.numbers")==[1,2,3]
    assert lake.rows("raw.numbers")[1]=={**ROW,"id":2}
def test_declared_mixed_case(lake):
    s=table_spec(columns={"updatedAt":"timestamptz"})
    load(lake,s,[{"id":1,"updatedAt":"2024-01-01T00:00:00Z"}])
    print(lake.table("raw.numbers").schema())
    assert lake.rows("raw.numbers")[0]["updated_at"].year==2024
def test_nan_partition(lake):
    s=table_spec(partition_by=["x"])
    load(lake,s,[{"id":1,"x":float("nan")},{"id":2,"x":1.0},{"id":3,"x":None}])
    assert lake.values("raw.numbers")==[1,2,3]
def test_all_null_new(lake):
    load(lake,table_spec(),pa.table({"a":pa.nulls(2)}))
    print(lake.table("raw.numbers").schema(), lake.rows("raw.numbers"))
