"""What every implementation of a port must do: the real ones and the fakes of the unit tests."""
