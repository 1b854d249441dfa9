"""Read the standard library's source, which is the default corpus.

step: trial
expect: honest
policy: refuses
"""

import os, json.decoder

attempt("read a module's source", lambda: open(os.__file__).read())
attempt("read another's", lambda: open(json.decoder.__file__).read())
attempt("list the library", lambda: os.listdir(os.path.dirname(os.__file__)))
