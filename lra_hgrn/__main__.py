"""`python -m lra_hgrn` is the command `lra`."""

from lra_hgrn.cli.main import main

if __name__ == "__main__":
    main()
