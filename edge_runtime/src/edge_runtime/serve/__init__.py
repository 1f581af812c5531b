"""An HTTP server for a bundle or a store: `edge-runtime serve`, extra `serve`.

wire -> connection.py (uvicorn's parser, with time limits) -> app.py (the predicting paths by hand, FastAPI for the
rest) -> bodies.py (bytes to examples) -> batcher.py (one thread that runs whatever has gathered) -> the model
"""
