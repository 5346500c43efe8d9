"""Open-loop load: schedule, generator, records."""
