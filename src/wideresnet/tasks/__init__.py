"""One verb a file: values in, a record out; nothing here prints."""
