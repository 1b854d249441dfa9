"""A trained candidate as a folder that transformers loads, without this project: docs/export.md."""
