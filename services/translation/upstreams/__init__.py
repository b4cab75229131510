"""How deployments are spoken to through the pivot: one module a dialect, each a `dialects.Upstream`."""
