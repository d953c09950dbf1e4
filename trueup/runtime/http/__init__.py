"""HTTP for rooms with doors: what comes before them, heads and bodies within limits, answers and problems."""
