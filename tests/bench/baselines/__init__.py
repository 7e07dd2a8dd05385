"""What our figures are held against. None of these programs knows our code."""
