"""JSON over HTTP: parse, call a service, shape the answer. Not here: rules, SQL, the lake."""
