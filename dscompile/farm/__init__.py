"""Measuring candidates on other machines, over TVM's RPC tracker: the tracker, the device, the client (docs/farm.md).

Only the tracker, the device's sessions and the client's workers import tvm, each in its own process and of tvm only its
runtime.
"""
