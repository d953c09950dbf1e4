"""`make demo`: a billing month or a real trace through the whole street, and the table that says whether it is exact."""
