"""The capabilities, one per folder: functions that take values and return a record; none prints."""
