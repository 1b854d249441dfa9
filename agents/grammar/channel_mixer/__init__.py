"""The grammar's feed-forward designs."""
