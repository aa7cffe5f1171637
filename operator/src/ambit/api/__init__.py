"""The API of group `ambit.dev`, version `v1alpha1`: what users write, and what Ambit writes into status.

These models are the only source: `python -m ambit.api.generate` writes the CRDs and the reference from them. They say
what an object looks like; whether a user may write it is decided by the apiserver (the CEL rules that stand beside the
fields), and whether it may act by `ambit.policy`.
"""
