"""The texts that language models are sent. See agents/prompting.py."""
