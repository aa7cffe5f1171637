"""The providers' wire formats, one sans-I/O module each; `wire_format` says what such a module offers."""
