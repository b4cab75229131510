"""HTTP in the caller's dialect: one file a surface."""
