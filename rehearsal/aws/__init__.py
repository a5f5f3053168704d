"""What no emulator plays: Service Catalog, SageMaker, CodeCommit and running builds, beside ministack's services.

This package runs in the emulator's own environment; only `adapter` knows ministack.
"""
