"""What a candidate costs: speed, memory and decoding state in its host, measured beside the reference baseline."""
