"""Which layers of an exported int8 file cost the accuracy and which the time, and what to do about it."""
