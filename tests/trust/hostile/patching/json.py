"""Replace json, in which messages are written.

step: trial
expect: error, child_died
policy: refuses
"""

import json

json.dumps = lambda *arguments, **kwargs: '{"kind": "point", "body": {"loss": NaN}, "arrays": []}'
json.loads = lambda *arguments, **kwargs: {"kind": "start", "body": {}, "arrays": []}
