"""The service: models behind HTTP (extra ``serve``).

    run        the process: socket, signals, reload, drain
    app        the routes, thin: read, work, render
    door       around every request: id, token, metrics, access log, security headers
    request_checks   Host, query and path of a request, before its handler
    body       bytes off the wire, within limits
    protocol   the Open Inference Protocol: tensors in and out of a body
    house      how much may be inside at once
    models     an open model, and the threads that work for it
    statistics   counts and times of one model
    service    all of the above as one value
"""
