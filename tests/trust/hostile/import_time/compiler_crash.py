"""Give the compiler something that it cannot survive.

step: trial
expect: honest, child_died
policy: refuses
"""

for text in ("-" * 200_000 + "1", "(" * 90 + "1" + ")" * 90, "[0" + " for x in y" * 5_000 + "]", "f" + "()" * 50_000):
    try:
        compile(text, "text", "exec")
    except (SyntaxError, RecursionError, MemoryError):
        pass
