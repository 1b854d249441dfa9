"""Replace the import machinery, and watch every call by tracing.

step: trial
expect: honest, error, sealed
policy: refuses
"""

import builtins
import sys

builtins.__import__ = lambda *arguments, **kwargs: None
sys.meta_path.clear()
sys.path_hooks.clear()
sys.settrace(lambda *arguments: None)
sys.setprofile(lambda *arguments: None)
