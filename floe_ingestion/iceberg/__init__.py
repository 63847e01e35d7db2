"""Everything that speaks Iceberg; knows nothing of Dagster or of dlt's pipeline."""
