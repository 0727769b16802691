"""`python -m pomona` is the command `pomona`."""

from pomona.cli import main

if __name__ == "__main__":
    main()
