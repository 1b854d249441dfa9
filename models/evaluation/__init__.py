"""Exported models under the field's harness, and tasks in its format that need no network: docs/export.md."""
