"""The service: models behind HTTP (extra ``serve``) and gRPC.

    workers      several processes of one service
    figures      the metrics of all of them
    run          the process: socket, signals, reload, graceful shutdown
    app          the routes: read the request, run the model, render the response
    service      the state that requests share: settings, models, admission, metrics
    admission    limits on concurrent requests, images and bytes
    models       opens the models of the settings
    worker       one model and its threads: decode, then infer in batches
    explain      class activation maps
    versions     names of models with their versions
    control      the routes of the model repository
    protocol     the Open Inference Protocol: requests to images, and metadata
    inference    inference requests of that protocol, for HTTP and gRPC
    responses    logits to output tensors and response bodies
    statistics   counts and times of one model, in Triton's form
    metrics      counters for Prometheus
    settings     the validated settings
    grpc         the Open Inference Protocol over gRPC (extra ``grpc``)
    http         the transport: middleware, connection limits, bodies, errors, OpenAPI, static files
"""
