"""Where names of models and data sets are looked up: a folder laid out as a hub."""
