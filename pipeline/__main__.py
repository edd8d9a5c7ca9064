"""`python -m pipeline`, which is what torchrun starts."""

from pipeline.cli import main

if __name__ == "__main__":
    main()
