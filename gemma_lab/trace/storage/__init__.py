"""Trace files: a ZIP container of JSON, Parquet and safetensors members. No torch."""
