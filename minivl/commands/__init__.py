"""What `minivl COMMAND` runs: one module a command, each with `main(arguments) -> exit code`."""
