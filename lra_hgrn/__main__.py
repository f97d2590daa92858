"""`python -m lra_hgrn` is the command `lra`."""

from lra_hgrn.cli.main import main
from lra_hgrn.starter import end_with_starter

if __name__ == "__main__":
    end_with_starter()
    main()
