"""The five mixers published with ASI-Arch (arXiv 2507.18074), written anew from their descriptions in our contract."""
