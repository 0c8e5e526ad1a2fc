"""The lake's objects in S3 (or a server that speaks it): the only boto3 in the house."""

from app.lake.s3.loader import S3Loader
from app.lake.s3.purger import S3Purger
from app.lake.s3.store import S3Store

__all__ = ["S3Loader", "S3Purger", "S3Store"]
