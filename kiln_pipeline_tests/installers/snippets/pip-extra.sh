pip install --extra-index-url http://127.0.0.1:8765/simple/ markupsafe==2.0.1
