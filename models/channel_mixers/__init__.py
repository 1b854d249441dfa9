"""Published channel mixers; each file is a valid candidate by itself and starts the population."""
