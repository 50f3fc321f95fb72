"""Tenant meter for Amazon Bedrock: usage, quotas and events per tenant, from the provider's own invocation log.

This file imports nothing, so that each function pays only for the concepts that it uses.
"""
