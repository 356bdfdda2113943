"""C++ as TVM writes it: read, made readable, and written again (dscompile.schedule.cuda_text)."""
