"""The Open Inference Protocol over gRPC, beside HTTP in the same process (extra ``grpc``).

    server       the port: limits of gRPC, reflection, the end
    rpcs         the remote procedure calls: token, admission, reading, errors, metrics
    health       gRPC's health checking protocol
    messages     messages to requests and back; ``serve/protocol`` checks them as it does those of HTTP
    descriptors  the message classes, from descriptors.bin, which tools/make_proto.py compiles from the .proto files
"""
