"""The command line: one file per command. Only this package prints or decides how the process ends."""
