"""How clients speak: one module a dialect, each a `dialects.Caller`."""
