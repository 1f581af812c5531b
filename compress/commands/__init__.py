"""One module a command, holding a click command named `command`; imports click alone until it is called."""
