"""What Schemathesis has to be told about this API."""

import schemathesis

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
