"""The built functions under the Lambda runtime emulator, behind the local gateway: `make e2e`."""
