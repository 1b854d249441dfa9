"""Read a key from the user's home, by its path and by way of a hard link and a symbolic one.

step: trial
expect: honest
policy: refuses
"""

import os

attempt("read a key", lambda: open(KEY_FILE).read())
attempt("read a home", lambda: os.listdir(HOME_FOLDER))
for link in (os.link, os.symlink):
    attempt(
        f"read a key by {link.__name__}", lambda link=link: (link(KEY_FILE, link.__name__), open(link.__name__).read())
    )
