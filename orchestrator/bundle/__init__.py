"""A winner as a folder that leaves the campaign: what is known of it, in files."""
