"""What the gateway does, with no web framework in it. Import the modules, not the package."""
