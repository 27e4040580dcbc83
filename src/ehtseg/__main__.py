"""`python -m ehtseg` is the command line."""

from ehtseg.doors.cli import main

if __name__ == "__main__":
    main()
