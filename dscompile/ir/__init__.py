"""The typed graph every other part of the compiler reads: tensors, operators, layers, networks, shapes, cost."""
