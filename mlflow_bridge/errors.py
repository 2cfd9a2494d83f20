"""The errors of the bridge.

::

    PynbDagRunnerError
    ├── UsageError
    │   └── TargetError    where to upload to is wrong, or MLflow is not installed; nothing was sent
    └── UploadError        one run could not be uploaded
        └── StoreError     MLflow refused, or did not answer
            ├── TooLargeError        one request, or the file in it, was too large
            └── UnknownCallError     this server does not know the call
"""

from pynb_dag_runner.errors import PynbDagRunnerError, UsageError


class TargetError(UsageError):
    """The tracking URI can't be used, or what is needed for it is not installed."""


class UploadError(PynbDagRunnerError):
    """One run could not be uploaded, or not completely; uploading it again goes on."""


class StoreError(UploadError):
    """MLflow refused a request, or did not answer."""


class TooLargeError(StoreError):
    """The server, or a proxy before it, refused a request for its size."""


class UnknownCallError(StoreError):
    """The server does not know a call: it is older than what the call is about, or no MLflow server."""
