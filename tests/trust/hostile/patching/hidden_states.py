"""Replace the host's hidden states by ones that know the next token.

step: trial
expect: leak, error
policy: refuses
"""

from models import backbone


def hidden(self, tokens):
    return 50 * self.head.weight[tokens.roll(-1, 1)]


backbone.LanguageModel.hidden = hidden
