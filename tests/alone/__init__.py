"""Measurements that are compared with exact figures: nothing runs beside them but one another."""
