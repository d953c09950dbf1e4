"""A seeded month of usage whose truth is computed here, apart from the pipeline that will be judged by it."""
