"""What tests share: the stack, fakes, receivers."""
