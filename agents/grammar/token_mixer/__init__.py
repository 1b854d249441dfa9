"""The grammar's linear-attention designs."""
