"""Emulate what ministack does not: Service Catalog, SageMaker, CodeCommit and the execution of CodeBuild builds.

This package runs in the emulator's own virtual environment. Only `adapter` imports ministack.
"""
