"""The language of SLOs and gates, and their verdicts."""
