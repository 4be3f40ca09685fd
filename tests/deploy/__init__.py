"""The deployment files of docs/deploy: valid, in step with each other, and run as they say."""
