"""A local OpenAI-compatible server for tests: real HTTP, scripted answers, faults on order."""
