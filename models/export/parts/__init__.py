"""Files that exported models consist of. They are copied, and nothing of this project imports them."""
