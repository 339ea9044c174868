"""The commands of the command line, one module each: they load, print, and write pages."""
