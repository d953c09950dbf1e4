"""The `trueup` command: one module per noun, on top of everything else."""
