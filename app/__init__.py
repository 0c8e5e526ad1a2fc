"""Clearlake takes a person out of an event lake and proves it."""
