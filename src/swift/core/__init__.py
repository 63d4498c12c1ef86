"""The ground floor: errors, registries, the schema base, YAML, environment, events, files."""
