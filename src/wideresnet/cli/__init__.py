"""The command line: parse, call, render. Whatever is heavy is imported when a command runs."""
