"""Between the library's messages and those of the contract, in both directions."""
