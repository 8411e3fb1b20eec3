"""`make rehearse`: deploy the stack to an emulator of AWS that others wrote, drive it, test it, delete it."""
