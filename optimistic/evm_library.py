"""web3.py, imported without what its import does to the process.

One of the packages behind it (py-ecc) sets Python's recursion limit to 100,000. With that a deeply
nested JSON document, from anybody, ends the process instead of raising RecursionError.
"""

from __future__ import annotations

import sys

_limit = sys.getrecursionlimit()
try:
    from eth_account import Account
    from eth_account.signers.local import LocalAccount
    from eth_typing import ABI, ABIFunction
    from eth_utils.abi import (
        abi_to_signature,
        event_abi_to_log_topic,
        function_abi_to_4byte_selector,
        get_abi_input_types,
        get_abi_output_types,
    )
    from web3 import Web3
    from web3.providers.base import JSONBaseProvider
    from web3.types import RPCEndpoint, RPCResponse
finally:
    sys.setrecursionlimit(_limit)

__all__ = [
    "ABI",
    "ABIFunction",
    "Account",
    "JSONBaseProvider",
    "LocalAccount",
    "RPCEndpoint",
    "RPCResponse",
    "Web3",
    "abi_to_signature",
    "event_abi_to_log_topic",
    "function_abi_to_4byte_selector",
    "get_abi_input_types",
    "get_abi_output_types",
]
