"""`python -m agop` is the command `agop`."""

from agop.cli import main

if __name__ == "__main__":
    main()
