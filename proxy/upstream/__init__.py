"""The outbound side: the one folder that imports botocore and aiobotocore."""
