"""The four roles of the loop: Researcher, Engineer, Judge, Analyst. Records in, records out."""
